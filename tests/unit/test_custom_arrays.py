"""Arrays of the user's own: which types they are given, and what is refused."""

import zipfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stages.common.errors import InputError
from stages.preprocess.decode import decode
from tests.custom import (
    GIVEN,
    RAW,
    X,
    Y,
    enter,
    obtain_arrays,
    refusal,
    write,
    write_arrays,
)


@pytest.fixture(autouse=True)
def _project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    enter(tmp_path, monkeypatch)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("uint8", "uint8"),
        ("bool", "uint8"),
        ("float16", "float32"),
        ("float32", "float32"),
        ("float64", "float32"),
        ("longdouble", "float32"),
        (">f8", "float32"),
        ("int8", "int32"),
        ("int16", "int32"),
        ("int32", "int32"),
        (">i4", "int32"),
        ("int64", "int32"),
        ("uint16", "int32"),
        ("uint64", "int32"),
    ],
)
@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_inputs_are_brought_to_three_types(
    given: str, expected: str, save: Callable[..., None]
) -> None:
    inputs = np.array([[0, 1], [1, 0], [1, 1], [0, 0]]).astype(given)
    save(GIVEN / "data.npz", train_x=inputs, train_y=Y, test_x=inputs[:3], test_y=Y[:3])
    source, arrays = obtain_arrays()
    np.testing.assert_array_equal(arrays.train_inputs, inputs.astype(expected), strict=True)
    np.testing.assert_array_equal(arrays.test_inputs, inputs[:3].astype(expected), strict=True)
    decode(RAW, source)


@pytest.mark.parametrize(
    "targets",
    [
        Y,
        Y.astype(np.uint8),
        Y.astype(bool),
        np.array([0.5, 1.5, 2.0, 3.25]),
        np.array([[0.5, 1.5], [2.0, 3.25], [0.0, 0.0], [1.0, 1.0]]),
        np.array(["cat", "dog", "cat", "Hündin"]),
    ],
    ids=["int64", "uint8", "bool", "float", "floats", "text"],
)
def test_targets_stay_as_they_are(targets: np.ndarray[Any, Any]) -> None:
    write_arrays(train_x=X, train_y=targets)
    source, arrays = obtain_arrays()
    np.testing.assert_array_equal(arrays.train_targets, targets, strict=True)
    assert source.class_names == ()
    np.testing.assert_array_equal(decode(RAW, source).train_targets, targets, strict=True)


def test_a_column_of_targets_and_a_row_of_inputs_get_the_usual_shapes() -> None:
    write_arrays(train_x=X[:, 0], train_y=Y[:, np.newaxis])
    _, arrays = obtain_arrays()
    np.testing.assert_array_equal(arrays.train_inputs, X[:, :1], strict=True)
    np.testing.assert_array_equal(arrays.train_targets, Y, strict=True)


def test_without_a_test_part_its_arrays_have_no_examples() -> None:
    write_arrays(train_x=np.zeros((4, 5, 6), np.float32), train_y=Y)
    _, arrays = obtain_arrays()
    assert (arrays.test_inputs.shape, arrays.test_inputs.dtype) == ((0, 5, 6), np.dtype("float32"))
    assert (arrays.test_targets.shape, arrays.test_targets.dtype) == ((0,), Y.dtype)


def test_a_test_part_without_examples_is_none() -> None:
    write_arrays(train_x=X / 2, train_y=Y, test_x=X[:0] / 2, test_y=Y[:0])
    source, arrays = obtain_arrays()
    assert decode(RAW, source).test_inputs.shape == arrays.test_inputs.shape == (0, 2)


def test_inputs_without_values_are_refused() -> None:
    write_arrays(train_x=X[:, :0] / 2, train_y=Y)
    source, _ = obtain_arrays()
    with pytest.raises(InputError, match="no training examples"):
        decode(RAW, source)


def test_the_order_in_memory_changes_no_value() -> None:
    write_arrays(train_x=np.asfortranarray(X), train_y=Y)
    _, arrays = obtain_arrays()
    np.testing.assert_array_equal(arrays.train_inputs, X, strict=True)


NAN = np.array([[0.0, 1.0], [2.0, np.nan], [np.inf, 0.0], [0.0, 0.0]])


@pytest.mark.parametrize(
    ("arrays", "parts"),
    [
        ({"train_x": X}, ("holds 'train_x'; should hold train_x and train_y",)),
        ({"train_x": X, "train_y": Y, "test_x": X}, ("'test_x'", "test_x and test_y if there")),
        ({"x_train": X, "y_train": Y}, ("holds 'x_train', 'y_train'",)),
        ({}, ("holds no array",)),
        ({"train_x": X, "train_y": Y[:3]}, ("train_x has 4 examples, train_y 3",)),
        (
            {"train_x": X, "train_y": Y, "test_x": X[:2], "test_y": Y},
            ("test_x has 2 examples, test_y 4",),
        ),
        ({"train_x": X[:1], "train_y": Y[:1]}, ("train_x has 1 examples; needs two or more",)),
        ({"train_x": np.float32(1), "train_y": Y}, ("train_x: is a single value",)),
        ({"train_x": X, "train_y": 1}, ("train_y: has the shape ()",)),
        ({"train_x": X, "train_y": np.zeros((4, 1, 1))}, ("train_y: has the shape (4, 1, 1)",)),
        (
            {"train_x": X, "train_y": Y, "test_x": X[:, :1], "test_y": Y},
            ("train_x holds uint8 of the shape (2,), test_x uint8 of (1,)",),
        ),
        (
            {"train_x": X, "train_y": Y, "test_x": X / 2, "test_y": Y},
            ("train_x holds uint8", "test_x float32", "should be equal"),
        ),
        (
            {"train_x": X, "train_y": Y, "test_x": X, "test_y": Y.astype(str)},
            ("train_y holds int64", "test_y <U21"),
        ),
        ({"train_x": NAN, "train_y": Y}, ("train_x: example 1 (counted from 0)", "fill in")),
        ({"train_x": NAN[2:], "train_y": Y[2:]}, ("train_x: example 0", "infinite")),
        (
            {"train_x": np.array([0x7FF0000000000001, 0], np.uint64).view(float), "train_y": Y[:2]},
            ("train_x: example 0", "NaN"),
        ),
        ({"train_x": NAN[::3] + 1e39, "train_y": Y[:2]}, ("train_x: example 0", "as float32")),
        (
            {"train_x": X, "train_y": Y, "test_x": NAN, "test_y": Y},
            ("test_x: example 1",),
        ),
        (
            {"train_x": X.astype(np.int64) + 2**31, "train_y": Y},
            ("train_x: has values from 2147483648 to 2147483655", "convert it to float32"),
        ),
        ({"train_x": X.astype(np.int64) - 2**40, "train_y": Y}, ("do not fit into int32",)),
        ({"train_x": X.astype(str), "train_y": Y}, ("train_x: holds text; should be numbers",)),
        ({"train_x": X * 1j, "train_y": Y}, ("train_x: has the type complex128",)),
        (
            {"train_x": X, "train_y": Y.astype("S")},
            ("train_y: has the type |S", "array.astype(str)"),
        ),
        (
            {"train_x": X, "train_y": np.array(["a", "b", "a", None], object)},
            ("train_y: has the type object", "array.astype(str)"),
        ),
        ({"train_x": X, "train_y": Y.astype("M8[s]")}, ("train_y: has the type datetime64[s]",)),
        ({"train_x": np.zeros(4, "i4, f4"), "train_y": Y}, ("train_x: has the type ",)),
    ],
)
def test_arrays_that_are_no_data_set_are_refused(
    arrays: dict[str, Any], parts: tuple[str, ...]
) -> None:
    write_arrays(**arrays)
    message = refusal()
    assert message.startswith("data/custom/shoes/data.npz: ")
    assert all(part in message for part in parts), message


def test_of_several_files_of_arrays_none_is_chosen() -> None:
    write_arrays("a.npz", train_x=X, train_y=Y)
    write_arrays("b.npz", train_x=X, train_y=Y)
    assert "2 .npz files; should hold exactly one, or name the file itself" in refusal()


def test_a_folder_without_arrays_is_refused_where_they_are_configured() -> None:
    assert "no .npz file; should hold exactly one" in refusal(kind="arrays")


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"\x93NUMPY", b"\x80\x04K\x01."])
def test_what_is_no_archive_is_refused(content: bytes) -> None:
    path = write("data.npz", content)
    assert f"{path}: not a readable .npz file" in refusal()


@pytest.mark.parametrize("n_cut", [1, 30, 200, 500])
def test_a_cut_archive_is_refused(n_cut: int) -> None:
    path = write_arrays(train_x=X, train_y=Y)
    path.write_bytes(path.read_bytes()[:-n_cut])
    assert "not a readable .npz file" in refusal()


def write_claiming(shape: tuple[int, ...], n_bytes: int | None = None) -> None:
    """Arrays of which the header of the first claims a shape, and the archive a size."""
    with zipfile.ZipFile(GIVEN / "data.npz", "w") as archive:
        for name, array in {"train_x": X, "train_y": Y}.items():
            with BytesIO() as file:
                header = {"descr": "|u1", "fortran_order": False, "shape": shape}
                if name == "train_x":
                    np.lib.format.write_array_header_1_0(file, header)
                    file.write(X.tobytes())
                else:
                    np.lib.format.write_array(file, array)
                archive.writestr(f"{name}.npy", file.getvalue())
        if n_bytes is not None:
            archive.filelist[0].file_size = n_bytes


@pytest.mark.parametrize("shape", [(2**50, 2), (5, 2), (3, 2), (-4, 2), (2**70,)])
def test_a_header_that_claims_other_than_what_is_there_is_refused(shape: tuple[int, ...]) -> None:
    write_claiming(shape)
    message = refusal()
    assert "train_x: damaged: 136 bytes, should be " in message
    assert "write it again with numpy.savez" in message


def test_an_archive_that_claims_more_than_the_memory_is_refused_before_it_is_read() -> None:
    write_claiming((2**50,), 128 + 2**50)
    message = refusal()
    assert message.startswith("params.yaml: dataset.path: reading data/custom/shoes/data.npz")
    assert "GiB of memory" in message
