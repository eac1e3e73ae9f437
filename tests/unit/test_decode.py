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
from stages.common.files import Array, UInt8Array
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
    np.testing.assert_array_equal(arrays.train_inputs, IMAGES[..., np.newaxis], strict=True)
    np.testing.assert_array_equal(arrays.train_targets, LABELS, strict=True)
    np.testing.assert_array_equal(arrays.test_inputs, IMAGES[:2, ..., np.newaxis], strict=True)
    np.testing.assert_array_equal(arrays.test_targets, LABELS[:2], strict=True)


def test_real_files_are_read(shared_data: Path) -> None:
    folder = shared_data / "fashion-mnist-sample"
    arrays = decode(folder, replace(SOURCE, class_names=tuple("0123456789")))
    assert arrays.train_inputs.shape == (2000, 28, 28, 1)
    assert arrays.test_inputs.shape == (1909, 28, 28, 1)
    for images, labels in (
        (arrays.train_inputs, arrays.train_targets),
        (arrays.test_inputs, arrays.test_targets),
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
        (encode_idx(IMAGES), "not a readable gzip file"),
        (gzip.compress(encode_idx(IMAGES))[:-1], "not a readable gzip file"),
        (gzip.compress(encode_idx(IMAGES))[:30], "not a readable gzip file"),
        (gzip.compress(encode_idx(IMAGES)) + b"more", "not a readable gzip file"),
        (b"", "not a readable gzip file"),
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
    images, labels, test_inputs, test_targets = arrays
    raw = RawArrays(images[..., np.newaxis], labels, test_inputs[..., np.newaxis], test_targets)
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
        (
            (IMAGES, LABELS + 1, IMAGES, LABELS),
            "a training label is 3, should be at least 0 and below 3",
        ),
        (
            (IMAGES, LABELS, IMAGES, LABELS + 9),
            "a test label is 11, should be at least 0 and below 3",
        ),
        ((IMAGES, LABELS[:4], IMAGES, LABELS), r"5 training examples but targets of shape \(4,\)"),
        ((IMAGES, LABELS, IMAGES[:4], LABELS), r"4 test examples but targets of shape \(5,\)"),
        (
            (IMAGES, LABELS, IMAGES[:, :2], LABELS),
            r"training examples have the shape \(3, 2, 1\), test examples .*equal",
        ),
        ((IMAGES[:0], LABELS[:0], IMAGES, LABELS), "no training examples"),
        ((IMAGES[:, :0], LABELS, IMAGES[:, :0], LABELS), "no training examples"),
        ((IMAGES, LABELS, IMAGES[:, :0], LABELS), "no test examples"),
    ],
    ids=[
        "training-label",
        "test-label",
        "training-counts",
        "test-counts",
        "sizes",
        "no-training",
        "no-pixels",
        "no-test-pixels",
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


PICTURES = IMAGES[..., np.newaxis]
NPZ = replace(SOURCE, format="npz", files=(RawFile("arrays.npz", 0, ""),))
# Classes are what the targets hold.
UNNAMED = replace(NPZ, class_names=())


def decode_arrays(folder: Path, made: RawArrays, source: Source = NPZ) -> RawArrays:
    RAW_ARRAYS.write(folder, made)
    return decode(folder, source)


@pytest.mark.parametrize(
    ("made", "told"),
    [
        (
            RawArrays(IMAGES[:, 0, 0], LABELS, IMAGES[:, 0, 0], LABELS),
            r"training inputs are \(5,\) uint8; should be \(n, ...\) of uint8, float32, int32",
        ),
        (
            RawArrays(PICTURES / 255, LABELS, PICTURES, LABELS),
            r"training inputs are \(5, 3, 2, 1\) float64; should be",
        ),
        (
            RawArrays(PICTURES, LABELS, PICTURES.astype(int), LABELS),
            r"test inputs are \(5, 3, 2, 1\) int64; should be",
        ),
        (
            RawArrays(PICTURES, LABELS, PICTURES.astype(np.float32), LABELS),
            "training inputs are uint8, test inputs float32; should be equal",
        ),
        (
            RawArrays(PICTURES, LABELS - 1.5, PICTURES, LABELS),
            r"training targets are \(5,\) float64; should be \(n,\) of whole numbers",
        ),
        (
            RawArrays(PICTURES, LABELS, PICTURES, np.eye(5, 3, dtype=np.uint8)),
            r"test targets are \(5, 3\) uint8; should be \(n,\) of whole numbers",
        ),
        (
            RawArrays(PICTURES, LABELS, PICTURES, LABELS.astype(str)),
            r"test targets are \(5,\) <U3; should be \(n,\) of whole numbers",
        ),
        (
            RawArrays(PICTURES, LABELS.astype(int) - 1, PICTURES, LABELS),
            "a training label is -1, should be at least 0 and below 3",
        ),
    ],
    ids=[
        "no-shape",
        "float64-inputs",
        "int64-inputs",
        "two-types",
        "float-labels",
        "one-hot",
        "names",
        "negative",
    ],
)
def test_arrays_of_another_type_or_shape_are_refused(
    tmp_path: Path, made: RawArrays, told: str
) -> None:
    with pytest.raises(InputError, match=told) as caught:
        decode_arrays(tmp_path, made)
    assert str(caught.value).startswith(f"{tmp_path}: ")


@pytest.mark.parametrize("others", [np.ones(5), np.ones((5, 3)), np.ones((5, 1))])
def test_targets_of_another_shape_in_the_test_part_are_refused(
    tmp_path: Path, others: Array
) -> None:
    made = RawArrays(PICTURES, np.ones((5, 2)), PICTURES, others)
    with pytest.raises(InputError, match=r"training targets have the shape \(5, 2\), test t"):
        decode_arrays(tmp_path, made, UNNAMED)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_number_that_is_not_finite_is_refused_with_its_example(
    tmp_path: Path, bad: float
) -> None:
    inputs = np.ones((5, 2), np.float32)
    inputs[3, 1] = bad
    with pytest.raises(InputError, match="test example 3 is not finite; remove it"):
        decode_arrays(tmp_path, RawArrays(np.ones((5, 2), np.float32), LABELS, inputs, LABELS))


@pytest.mark.parametrize(
    "inputs",
    [IMAGES, IMAGES[:, 0], PICTURES.astype(np.float32), PICTURES[np.newaxis].swapaxes(0, 1)],
    ids=["no-channels", "rows", "numbers", "five-axes"],
)
def test_inputs_may_have_any_rank(tmp_path: Path, inputs: Array) -> None:
    arrays = decode_arrays(tmp_path, RawArrays(inputs, LABELS, inputs[:2], LABELS[:2]))
    np.testing.assert_array_equal(arrays.train_inputs, inputs, strict=True)
    np.testing.assert_array_equal(arrays.test_inputs, inputs[:2], strict=True)


@pytest.mark.parametrize(
    "targets",
    [LABELS + 0.5, np.ones((5, 3)), LABELS.astype(str), LABELS.astype(int) - 1],
    ids=["numbers", "several", "names", "negative"],
)
def test_without_class_names_targets_may_be_anything(tmp_path: Path, targets: Array) -> None:
    made = RawArrays(PICTURES, targets, PICTURES, targets)
    arrays = decode_arrays(tmp_path, made, UNNAMED)
    np.testing.assert_array_equal(arrays.train_targets, targets, strict=True)


def test_there_may_be_no_test_part(tmp_path: Path) -> None:
    arrays = decode_arrays(tmp_path, RawArrays(PICTURES, LABELS, PICTURES[:0], LABELS[:0]))
    assert arrays.test_inputs.shape == (0, 3, 2, 1)
