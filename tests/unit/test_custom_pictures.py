"""Pictures of the user's own: their classes, colours and sizes, and what is refused."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from stages.download.custom import obtain_custom
from stages.preprocess.decode import decode
from tests.custom import (
    GIVEN,
    RAW,
    TWO_CLASSES,
    custom,
    encode,
    enter,
    grey,
    obtain_arrays,
    refusal,
    write,
    write_pictures,
)


@pytest.fixture(autouse=True)
def _project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    enter(tmp_path, monkeypatch)


def test_pictures_are_read_by_class_in_the_order_of_names() -> None:
    write_pictures(
        {
            "train/dog/b.png": grey(4),
            "train/dog/a.PNG": grey(3),
            "train/cat/z.png": grey(2),
            "train/cat/nested/deep/a.png": grey(1),
            "test/dog/a.png": grey(5),
        }
    )
    source, arrays = obtain_arrays()
    assert (source.format, source.class_names) == ("npz", ("cat", "dog"))
    assert arrays.train_inputs.shape == (4, 2, 3, 1)
    assert arrays.train_inputs.dtype == np.uint8
    assert arrays.train_inputs[:, 0, 0, 0].tolist() == [1, 2, 3, 4]
    np.testing.assert_array_equal(arrays.train_targets, np.array([0, 0, 1, 1], np.int32))
    assert arrays.test_inputs[:, 0, 0, 0].tolist() == [5]
    np.testing.assert_array_equal(arrays.test_targets, np.array([1], np.int32), strict=True)
    decode(RAW, source)


@pytest.mark.parametrize("prefix", ["", "train/", "test/", "Train/"])
def test_without_two_parts_all_pictures_are_of_the_first(prefix: str) -> None:
    write_pictures({f"{prefix}{name}": image for name, image in TWO_CLASSES.items()})
    source, arrays = obtain_arrays()
    assert source.class_names == ("cat", "dog")
    assert arrays.train_inputs.shape == (4, 2, 3, 1)
    assert (arrays.test_inputs.shape, arrays.test_inputs.dtype) == ((0, 2, 3, 1), np.dtype("uint8"))
    assert (arrays.test_targets.shape, arrays.test_targets.dtype) == ((0,), np.dtype("int32"))


def test_a_class_may_be_called_train() -> None:
    write_pictures({name.replace("cat", "train"): image for name, image in TWO_CLASSES.items()})
    source, _ = obtain_arrays()
    assert source.class_names == ("dog", "train")


def test_the_order_in_which_files_were_made_changes_no_byte() -> None:
    write_pictures(TWO_CLASSES)
    first = obtain_custom(custom(), RAW)
    for file in GIVEN.rglob("*.png"):
        file.unlink()
    write_pictures(dict(reversed(TWO_CLASSES.items())))
    assert obtain_custom(custom(), RAW) == first


def red(mode: str) -> Image.Image:
    return Image.new("RGB", (3, 2), "red").convert(mode)


def clear(mode: str) -> Image.Image:
    """Nothing but transparency, above black."""
    return Image.new("RGBA", (3, 2), (0, 0, 0, 0)).convert(mode)


@pytest.mark.parametrize(
    ("image", "pixel"),
    [
        (Image.new("1", (3, 2), 1), [255]),
        (grey(7), [7]),
        (red("RGB"), [255, 0, 0]),
        (red("P"), [255, 0, 0]),
        (red("RGBA"), [255, 0, 0]),
        (grey(9).convert("P"), [9, 9, 9]),
        (clear("RGBA"), [255, 255, 255]),
        (clear("LA"), [255, 255, 255]),
        (Image.new("RGBA", (3, 2), (0, 0, 0, 51)), [204, 204, 204]),
    ],
    ids=["1", "L", "RGB", "P", "RGBA", "grey-P", "clear", "clear-grey", "partly"],
)
def test_what_is_not_grey_is_read_in_colour_on_white(image: Image.Image, pixel: list[int]) -> None:
    write_pictures(dict.fromkeys(TWO_CLASSES, image))
    _, arrays = obtain_arrays()
    assert arrays.train_inputs[0, 0, 0].tolist() == pixel


def test_a_colour_that_counts_as_transparent_is_white() -> None:
    write_pictures(TWO_CLASSES)
    write("cat/1.png", encode(grey(10), transparency=10))
    _, arrays = obtain_arrays()
    assert arrays.train_inputs[0, 0, 0].tolist() == [255, 255, 255]


def test_one_picture_in_colour_makes_all_so() -> None:
    write_pictures({**TWO_CLASSES, "dog/1.png": red("RGB")})
    _, arrays = obtain_arrays()
    assert arrays.train_inputs[:, 0, 0].tolist() == [[10] * 3, [20] * 3, [255, 0, 0], [20] * 3]


@pytest.mark.parametrize("image", [grey(200), red("RGB"), red("CMYK")], ids=["L", "RGB", "CMYK"])
def test_jpeg_is_read(image: Image.Image) -> None:
    names = [name.replace("png", ending) for name in TWO_CLASSES for ending in ("jpg", "JPEG")]
    write_pictures(dict.fromkeys(names, image))
    _, arrays = obtain_arrays()
    expected = np.asarray(image.convert("L" if image.mode == "L" else "RGB")).reshape(2, 3, -1)
    assert np.abs(arrays.train_inputs[0].astype(int) - expected).max() <= 2


@pytest.mark.parametrize("ending", ["png", "jpg"])
def test_a_picture_is_turned_as_its_camera_says(ending: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = encode(grey(1, (2, 3)), {"png": "PNG", "jpg": "JPEG"}[ending], exif=exif)
    write_pictures(TWO_CLASSES)
    write(f"cat/3.{ending}", turned)
    _, arrays = obtain_arrays()
    assert arrays.train_inputs.shape == (5, 2, 3, 1)


def test_pictures_of_different_sizes_are_told_with_the_way_out() -> None:
    write_pictures({**TWO_CLASSES, "dog/2.png": grey(1, (5, 4))})
    message = refusal()
    assert "cat/1.png has 2 x 3 pixels, data/custom/shoes/dog/2.png has 4 x 5" in message
    assert "set dataset.custom.resize in params.yaml" in message
    _, arrays = obtain_arrays(resize=(6, 7))
    assert arrays.train_inputs.shape == (4, 6, 7, 1)
    assert np.unique(arrays.train_inputs).tolist() == [1, 10, 20]


def test_shrinking_averages() -> None:
    stripes = Image.fromarray(np.tile(np.array([0, 200], np.uint8), (16, 8)))
    write_pictures(dict.fromkeys(TWO_CLASSES, stripes))
    _, arrays = obtain_arrays(resize=(4, 4))
    assert np.abs(arrays.train_inputs.astype(int) - 100).max() < 10


def test_one_number_is_no_size() -> None:
    write_pictures(TWO_CLASSES)
    assert refusal(resize=(28,)).startswith("params.yaml: dataset.custom.resize: holds only 28")


def test_a_size_beyond_the_memory_is_refused_before_a_picture_is_read() -> None:
    write_pictures(TWO_CLASSES)
    message = refusal(resize=(2**24, 2**24))
    assert message.startswith("params.yaml: dataset.path: reading 4 pictures needs at least")


def test_other_files_are_left_out_with_one_notice(capsys: pytest.CaptureFixture[str]) -> None:
    write_pictures({f"train/{name}": image for name, image in TWO_CLASSES.items()})
    write_pictures({"loose.png": grey(1), "train/loose.png": grey(1)})
    for name in ("train/cat/.DS_Store", "train/dog/Thumbs.db", "train/dog/sub/note.txt"):
        write(name, "no picture")
    _, arrays = obtain_arrays()
    assert len(arrays.train_inputs) == 4
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "left out" in line]
    assert line.startswith("data/custom/shoes: ")
    assert line.endswith(": 4; the first is data/custom/shoes/loose.png")


def test_folders_of_pictures_may_be_links() -> None:
    write_pictures(TWO_CLASSES)
    (GIVEN / "dog").rename("kennel")
    (GIVEN / "dog").symlink_to(Path("kennel").resolve())
    source, _ = obtain_arrays()
    assert source.class_names == ("cat", "dog")


def test_a_link_that_leads_back_is_refused() -> None:
    write_pictures(TWO_CLASSES)
    (GIVEN / "cat" / "again").symlink_to(GIVEN.resolve())
    assert "leads back to" in refusal()


SPLIT = {
    f"{part}/{name}": image for part in ("train", "test") for name, image in TWO_CLASSES.items()
}


@pytest.mark.parametrize(
    ("pictures", "folder", "parts"),
    [
        ({}, "", ("no folder in it; should hold a folder of pictures for each class",)),
        ({"cat/1.png": grey(1), "cat/2.png": grey(1)}, "", ("only one class, 'cat'",)),
        (TWO_CLASSES | {"cow/1.png": grey(1)}, "/cow", ("only one picture, 1.png", "add more")),
        (TWO_CLASSES | {"empty/": grey(1)}, "/empty", ("no PNG or JPEG in it", "remove the")),
        (SPLIT | {"train/empty/": grey(1)}, "/train/empty", ("no PNG or JPEG in it",)),
        (SPLIT | {"test/empty/": grey(1)}, "/test/empty", ("no PNG or JPEG in it",)),
        (SPLIT | {"test/cow/1.png": grey(1)}, "/test/cow", ("no such class in data/custom",)),
        (SPLIT | {"val/cat/1.png": grey(1)}, "", ("val lies beside train; move its pictures",)),
        (
            {"train/1.png": grey(1), "test/1.png": grey(1)},
            "/train",
            ("no folder in it; should hold a folder of pictures for each class",),
        ),
    ],
)
def test_folders_that_are_no_data_set_are_refused(
    pictures: Mapping[str, Image.Image], folder: str, parts: tuple[str, ...]
) -> None:
    write_pictures({name: image for name, image in pictures.items() if name[-1] != "/"})
    for name in pictures:
        if name[-1] == "/":
            (GIVEN / name).mkdir()
    message = refusal(kind="pictures")
    assert message.startswith(f"data/custom/shoes{folder}: ")
    assert all(part in message for part in parts), message


SOUND = encode(Image.fromarray(np.random.default_rng(0).integers(0, 256, (30, 40), np.uint8)))


@pytest.mark.parametrize(
    ("content", "part"),
    [
        (b"", "cannot be read as PNG or JPEG"),
        (b"no picture", "cannot be read as PNG or JPEG"),
        (SOUND[:-200], "cannot be read as PNG or JPEG"),
        (encode(grey(1), "GIF"), "cannot be read as PNG or JPEG"),
        (encode(Image.new("1", (20_000, 9000))), "decompression bomb"),
        (encode(Image.new("1", (10_000, 9000))), "decompression bomb"),
        (encode(Image.new("I;16", (3, 2))), "more than 8 bits (I;16)"),
        (encode(Image.new("F", (3, 2)), "TIFF"), "cannot be read as PNG or JPEG"),
    ],
    ids=["empty", "text", "cut", "GIF", "bomb", "half-a-bomb", "16-bit", "TIFF"],
)
def test_a_picture_that_cannot_be_used_is_named(content: bytes, part: str) -> None:
    write_pictures(TWO_CLASSES)
    path = write("dog/2.png", content)
    message = refusal()
    assert message.startswith(f"{path}: ")
    assert part in message
