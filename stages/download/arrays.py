"""Reads the user's data from one `.npz` file of arrays."""

import math
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import IO

import numpy as np

from stages.common.data import RawArrays
from stages.common.errors import InputError, one_line, quoted, shorten
from stages.common.files import Array
from stages.common.memory import check_fits
from stages.download.listing import list_files

_TRAIN = ("train_x", "train_y")
_TEST = ("test_x", "test_y")
_HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


def read_arrays(path: Path) -> RawArrays:
    """Reads the arrays `train_x`, `train_y` and, if there is a test part, `test_x`, `test_y`.

    Args:
        path: The file, or a folder with no other `.npz` file.

    Returns:
        Inputs as `uint8`, `float32` or `int32`, of at least rank 2; targets unchanged.

    Raises:
        InputError: If the file is damaged, or its arrays do not make a data set.
    """
    files = list_files(path, ".npz")
    if len(files) != 1:
        found = f"{len(files)} .npz files" if files else "no .npz file"
        raise InputError(f"{path}: {found}; should hold exactly one, or name the file itself")
    file = files[0]
    given = _read(file)
    train_inputs = _convert_inputs(f"{file}: train_x", given["train_x"])
    train_targets = _check_targets(f"{file}: train_y", given["train_y"])
    _check_lengths(file, "train", train_inputs, train_targets)
    if len(train_inputs) < 2:
        raise InputError(f"{file}: train_x has {len(train_inputs)} examples; needs two or more")
    if _TEST[0] not in given:
        return RawArrays(train_inputs, train_targets, train_inputs[:0], train_targets[:0])
    test_inputs = _convert_inputs(f"{file}: test_x", given["test_x"])
    test_targets = _check_targets(f"{file}: test_y", given["test_y"])
    _check_lengths(file, "test", test_inputs, test_targets)
    _check_alike(file, "x", train_inputs, test_inputs)
    _check_alike(file, "y", train_targets, test_targets)
    return RawArrays(train_inputs, train_targets, test_inputs, test_targets)


def _read(file: Path) -> dict[str, Array]:
    try:
        with zipfile.ZipFile(file) as archive:
            members = {member.filename.removesuffix(".npy"): member for member in archive.filelist}
            _check_names(file, members)
            n_bytes = 0
            for name, member in members.items():
                with archive.open(member) as content:
                    n_bytes += _check_header(f"{file}: {name}", content, member.file_size)
            check_fits(n_bytes, "dataset.path", f"reading {file}")
            arrays = {}
            for name, member in members.items():
                with archive.open(member) as content:
                    arrays[name] = np.lib.format.read_array(content, allow_pickle=False)
            return arrays
    except InputError:
        raise
    except Exception as error:  # noqa: BLE001, damaged bytes make zipfile and NumPy raise many kinds
        fault = one_line(error) or type(error).__name__
        raise InputError(
            f"{file}: not a readable .npz file ({fault}); write it again with numpy.savez"
        ) from None


def _check_names(file: Path, names: Iterable[str]) -> None:
    if set(names) not in ({*_TRAIN}, {*_TRAIN, *_TEST}):
        found = shorten(", ".join(map(quoted, sorted(names)))) or "no array"
        raise InputError(
            f"{file}: holds {found}; should hold train_x and train_y, and test_x and test_y if "
            "there is a test part"
        )


def _check_header(where: str, content: IO[bytes], member_bytes: int) -> int:
    """Checks an array's header before memory is allocated, and returns the array's bytes."""
    version = np.lib.format.read_magic(content)
    if version not in _HEADERS:
        raise ValueError(f"unknown array format {version}")
    shape, _, dtype = _HEADERS[version](content)
    if dtype.kind not in "biufU":
        raise InputError(f"{where}: has the type {one_line(dtype)}; {_cure(dtype)}")
    n_bytes = math.prod(shape) * dtype.itemsize
    if content.tell() + n_bytes != member_bytes:
        raise InputError(
            f"{where}: damaged: {member_bytes} bytes, should be {content.tell() + n_bytes} for the "
            f"shape {one_line(shape)} in its header; write it again with numpy.savez"
        )
    return n_bytes


def _cure(dtype: np.dtype[np.generic]) -> str:
    if dtype.kind in "SO":
        return "should be numbers, or for class names NumPy strings: array.astype(str)"
    return "should be whole numbers, floats or bools, or text for class names"


def _convert_inputs(where: str, values: Array) -> Array:
    if values.ndim == 0:
        raise InputError(f"{where}: is a single value; should have the shape (n, ...)")
    if values.ndim == 1:
        values = values[:, np.newaxis]
    match values.dtype.kind:
        case "f":
            return _convert_floats(where, values)
        case "b":
            return values.astype(np.uint8)
        case "i" | "u":
            return values if values.dtype == np.uint8 else _convert_integers(where, values)
    raise InputError(f"{where}: holds text; should be numbers")


def _convert_floats(where: str, values: Array) -> Array:
    with np.errstate(over="ignore", invalid="ignore"):
        converted = values.astype(np.float32)
    is_bad = ~np.isfinite(converted).all(axis=tuple(range(1, values.ndim)))
    if is_bad.any():
        raise InputError(
            f"{where}: example {is_bad.argmax()} (counted from 0) holds a NaN, or a number that is "
            "infinite as float32; remove the example, or fill in what is missing"
        )
    return converted


def _convert_integers(where: str, values: Array) -> Array:
    limits = np.iinfo(np.int32)
    if values.size and not limits.min <= int(values.min()) <= int(values.max()) <= limits.max:
        raise InputError(
            f"{where}: has values from {values.min()} to {values.max()}, which do not fit into "
            "int32; convert it to float32"
        )
    return values.astype(np.int32)


def _check_targets(where: str, targets: Array) -> Array:
    """Checks the shape, and returns targets `(n, 1)` as `(n,)`."""
    if targets.ndim not in (1, 2):
        raise InputError(
            f"{where}: has the shape {targets.shape}; should be (n,), or (n, n_outputs) for a "
            "regression"
        )
    return targets[:, 0] if targets.shape[1:] == (1,) else targets


def _check_lengths(file: Path, part: str, inputs: Array, targets: Array) -> None:
    if len(inputs) != len(targets):
        raise InputError(
            f"{file}: {part}_x has {len(inputs)} examples, {part}_y {len(targets)}; should be equal"
        )


def _check_alike(file: Path, letter: str, train: Array, test: Array) -> None:
    """Compares the shapes of single examples, and the types; of targets, only text or not."""
    same_types = (
        train.dtype == test.dtype
        if letter == "x"
        else (train.dtype.kind == "U") == (test.dtype.kind == "U")
    )
    if train.shape[1:] != test.shape[1:] or not same_types:
        raise InputError(
            f"{file}: train_{letter} holds {train.dtype} of the shape {train.shape[1:]}, "
            f"test_{letter} {test.dtype} of {test.shape[1:]}; should be equal"
        )
