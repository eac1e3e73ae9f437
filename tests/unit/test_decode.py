"""From raw files to arrays: the published format is read, anything else is refused by name."""

import gzip
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from stages.common.data import RAW_ARRAYS, RawArrays, RawFile, Source
from stages.common.errors import InputError
from stages.common.files import UInt8Array
from stages.preprocess.decode import decode, read_idx
from tests.examples import encode_idx

IMAGES_NAME = "train-images-idx3-ubyte.gz"
NAMES = (
    IMAGES_NAME,
    "train-labels-idx1-ubyte.gz",
    "t10k-images-idx3-ubyte.gz",
    "t10k-labels-idx1-ubyte.gz",
)
IMAGES = np.arange(5 * 3 * 2, dtype=np.uint8).reshape(5, 3, 2)
LABELS = np.array([0, 1, 2, 0, 1], np.uint8)
SOURCE = Source("tiny", "idx", ("a",), ("a", "b", "c"), tuple(RawFile(n, 0, "") for n in NAMES))


def write_idx(folder: Path, *arrays: UInt8Array) -> None:
    for name, array in zip(NAMES, arrays, strict=True):
        (folder / name).write_bytes(gzip.compress(encode_idx(array)))


def test_the_four_files_become_arrays_with_a_channel(tmp_path: Path) -> None:
    write_idx(tmp_path, IMAGES, LABELS, IMAGES[:2], LABELS[:2])
    arrays = decode(tmp_path, SOURCE)
    np.testing.assert_array_equal(arrays.train_images, IMAGES[..., np.newaxis], strict=True)
    np.testing.assert_array_equal(arrays.train_labels, LABELS, strict=True)
    np.testing.assert_array_equal(arrays.test_images, IMAGES[:2, ..., np.newaxis], strict=True)
    np.testing.assert_array_equal(arrays.test_labels, LABELS[:2], strict=True)


def test_real_files_are_read(shared_data: Path) -> None:
    folder = shared_data / "fashion-mnist-sample"
    arrays = decode(folder, replace(SOURCE, class_names=tuple("0123456789")))
    assert arrays.train_images.shape == (2000, 28, 28, 1)
    assert arrays.test_images.shape == (1909, 28, 28, 1)
    for images, labels in (
        (arrays.train_images, arrays.train_labels),
        (arrays.test_images, arrays.test_labels),
    ):
        assert (images.min(), images.max()) == (0, 255)
        np.testing.assert_array_equal(np.unique(labels), np.arange(10))


@pytest.mark.parametrize(
    ("content", "right"),
    [
        (gzip.compress(b"\x00\x01" + encode_idx(IMAGES)[2:]), "should be 00000803"),
        (gzip.compress(b"\x00\x00\x09" + encode_idx(IMAGES)[3:]), "should be 00000803"),
        (gzip.compress(encode_idx(IMAGES[0])), "(unsigned bytes, 3 dimensions)"),
        (gzip.compress(encode_idx(LABELS)), "(unsigned bytes, 3 dimensions)"),
        (gzip.compress(encode_idx(IMAGES)[:-1]), "should be 46 for the shape (5, 3, 2)"),
        (gzip.compress(encode_idx(IMAGES) + b"\x00"), "should be 46 for the shape (5, 3, 2)"),
        (gzip.compress(encode_idx(IMAGES)[:15]), "ends within its header, after 15 bytes"),
        (gzip.compress(encode_idx(IMAGES)[:3]), "should be 00000803"),
        (encode_idx(IMAGES), "no readable gzip file"),
        (gzip.compress(encode_idx(IMAGES))[:-1], "no readable gzip file"),
        (gzip.compress(encode_idx(IMAGES))[:30], "no readable gzip file"),
        (gzip.compress(encode_idx(IMAGES)) + b"more", "no readable gzip file"),
        (b"", "no readable gzip file"),
    ],
    ids=[
        "magic",
        "data-type",
        "two-dimensions",
        "one-dimension",
        "data-cut",
        "data-too-long",
        "header-cut",
        "magic-cut",
        "not-packed",
        "packing-cut-at-its-end",
        "packing-cut",
        "bytes-after-packing",
        "empty",
    ],
)
def test_a_file_that_is_not_as_published_is_named_with_what_is_right(
    tmp_path: Path, content: bytes, right: str
) -> None:
    path = tmp_path / IMAGES_NAME
    path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        read_idx(path)
    (line,) = str(caught.value).splitlines()
    assert line.startswith(f"{path}: ")
    assert right in line


@pytest.mark.parametrize(
    ("shape", "n_packed"),
    [((5, 3, 2), 2**25), ((2**32 - 1, 2**32 - 1, 2**32 - 1), 30)],
    ids=["packed-are-more-than-it-says", "it-says-more-than-are-packed"],
)
def test_what_a_file_packs_or_claims_beside_its_images_takes_no_memory(
    tmp_path: Path, shape: tuple[int, ...], n_packed: int
) -> None:
    path = tmp_path / IMAGES_NAME
    header = encode_idx(IMAGES)[:4] + np.array(shape, ">u4").tobytes()
    path.write_bytes(gzip.compress(header + bytes(n_packed)))
    tracemalloc.start()
    with pytest.raises(InputError, match="for the shape"):
        read_idx(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2**20


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No such file") as caught:
        read_idx(tmp_path / IMAGES_NAME)
    assert str(tmp_path / IMAGES_NAME) in str(caught.value)


def write_npz(folder: Path, *arrays: UInt8Array) -> None:
    images, labels, test_images, test_labels = arrays
    raw = RawArrays(images[..., np.newaxis], labels, test_images[..., np.newaxis], test_labels)
    RAW_ARRAYS.write(folder, raw)


@pytest.mark.parametrize(
    ("write", "source"),
    [
        (write_idx, SOURCE),
        (write_npz, replace(SOURCE, format="npz", files=(RawFile("arrays.npz", 0, ""),))),
    ],
    ids=["idx", "npz"],
)
@pytest.mark.parametrize(
    ("arrays", "told"),
    [
        ((IMAGES, LABELS + 1, IMAGES, LABELS), "a training label is 3, should be below 3"),
        ((IMAGES, LABELS, IMAGES, LABELS + 9), "a test label is 11, should be below 3"),
        ((IMAGES, LABELS[:4], IMAGES, LABELS), r"5 training images but labels of shape \(4,\)"),
        ((IMAGES, LABELS, IMAGES[:4], LABELS), r"4 test images but labels of shape \(5,\)"),
        ((IMAGES, LABELS, IMAGES[:, :2], LABELS), r"training images are \(3, 2, 1\), test .*equal"),
        ((IMAGES[:0], LABELS[:0], IMAGES, LABELS), "no training images"),
        ((IMAGES, LABELS, IMAGES[:0], LABELS[:0]), "no test images"),
        ((IMAGES[:, :0], LABELS, IMAGES[:, :0], LABELS), "no training images"),
    ],
    ids=[
        "training-label",
        "test-label",
        "training-counts",
        "test-counts",
        "sizes",
        "no-training",
        "no-test",
        "no-pixels",
    ],
)
def test_arrays_that_do_not_fit_together_are_refused(
    tmp_path: Path,
    write: Callable[..., None],
    source: Source,
    arrays: tuple[UInt8Array, ...],
    told: str,
) -> None:
    write(tmp_path, *arrays)
    with pytest.raises(InputError, match=told) as caught:
        decode(tmp_path, source)
    assert str(caught.value).startswith(f"{tmp_path}: ")


@pytest.mark.parametrize(
    "made",
    [
        RawArrays(IMAGES, LABELS, IMAGES, LABELS),
        RawArrays(IMAGES[..., np.newaxis] / 255, LABELS, IMAGES[..., np.newaxis], LABELS),
        RawArrays(IMAGES[..., np.newaxis], LABELS.astype(int), IMAGES[..., np.newaxis], LABELS),
    ],
    ids=["no-channels", "float-images", "wide-labels"],
)
def test_arrays_of_another_type_or_shape_are_refused(tmp_path: Path, made: RawArrays) -> None:
    RAW_ARRAYS.write(tmp_path, made)
    source = replace(SOURCE, format="npz", files=(RawFile("arrays.npz", 0, ""),))
    with pytest.raises(InputError, match=r"should be \(n, height, width, channels\) uint8"):
        decode(tmp_path, source)
