"""Reads the files of data/raw into checked arrays.

Source of the IDX format: http://yann.lecun.com/exdb/mnist/ (Y. LeCun, C. Cortes, C. J. C. Burges).
"""

import math
import sys
import zlib
from pathlib import Path

import numpy as np

from stages.common.data import RAW_ARRAYS, RawArrays, Source
from stages.common.errors import InputError, one_line, shorten
from stages.common.files import Array, UInt8Array, read_checked

INPUT_DTYPES = tuple(map(np.dtype, ("uint8", "float32", "int32")))
_UNSIGNED_BYTE = 0x08
# zlib's number for its largest window, in gzip's wrapping.
_GZIP = 16 + zlib.MAX_WBITS


def decode(folder: Path, source: Source) -> RawArrays:
    """Reads a data set of arrays and checks that they fit together.

    Returns:
        Each part has as many targets as inputs, and all inputs have one shape and type. If the
        source names the classes, labels are below the number of names.

    Raises:
        InputError: If a file violates its format, or the arrays do not fit together.
    """
    if source.format == "npz":
        arrays = RAW_ARRAYS.read(folder)
    else:
        inputs, targets, test_inputs, test_targets = (
            read_idx(folder / file.name) for file in source.files
        )
        arrays = RawArrays(
            inputs[..., np.newaxis], targets, test_inputs[..., np.newaxis], test_targets
        )
    _check(folder, arrays, n_classes=len(source.class_names))
    return arrays


def read_idx(path: Path) -> UInt8Array:
    """Reads a gzipped IDX file of unsigned bytes.

    Args:
        path: Its name has to give the number of dimensions, as MNIST's do: `…-idx3-ubyte.gz`.

    Returns:
        An array of the shape that the header gives.

    Raises:
        InputError: If the file is cut short, longer than its header says, or not such a file.
    """
    n_dimensions = int(path.name.partition("-idx")[2][:1])
    header_bytes = 4 + 4 * n_dimensions
    expected = bytes((0, 0, _UNSIGNED_BYTE, n_dimensions))
    try:
        packed = read_checked(path)
    except OSError as error:
        raise InputError(f"{path}: not a readable gzip file ({one_line(error)})") from None
    header = _unpack(path, packed, header_bytes)
    if header[:4] != expected:
        raise InputError(
            f"{path}: magic number is {header[:4].hex()}, should be {expected.hex()} "
            f"(unsigned bytes, {n_dimensions} dimensions)"
        )
    if len(header) < header_bytes:
        raise InputError(f"{path}: ends within its header, after {len(header)} bytes")
    shape = tuple(np.frombuffer(header, ">u4", n_dimensions, offset=4).tolist())
    n_bytes = header_bytes + math.prod(shape)
    content = _unpack(path, packed, n_bytes + 1)
    if len(content) != n_bytes:
        length = f"more than {n_bytes}" if len(content) > n_bytes else len(content)
        raise InputError(
            f"{path}: {length} bytes, should be {n_bytes} for the shape {shape} in its header"
        )
    return np.frombuffer(content, np.uint8, offset=header_bytes).reshape(shape)


def _unpack(path: Path, packed: bytes, at_most: int) -> bytes:
    """Unpacks the first bytes of a gzip file; verifies its checksum if that is all of it.

    Takes no more memory than what it returns, however much is packed and however large `at_most`.
    """
    unpacking = zlib.decompressobj(_GZIP)
    try:
        content = unpacking.decompress(packed, min(at_most, sys.maxsize))
    except zlib.error as error:
        raise InputError(f"{path}: not a readable gzip file ({one_line(error)})") from None
    if len(content) < at_most and not unpacking.eof:
        raise InputError(f"{path}: not a readable gzip file (cut short)")
    if unpacking.unused_data:
        raise InputError(f"{path}: not a readable gzip file (more bytes after its end)")
    return content


def _check(folder: Path, arrays: RawArrays, n_classes: int) -> None:
    parts = {
        "training": (arrays.train_inputs, arrays.train_targets),
        "test": (arrays.test_inputs, arrays.test_targets),
    }
    for part, (inputs, targets) in parts.items():
        if inputs.ndim < 2 or inputs.dtype not in INPUT_DTYPES:
            found = one_line(f"{inputs.shape} {inputs.dtype}")
            raise InputError(
                f"{folder}: {part} inputs are {found}; should be (n, ...) of "
                f"{', '.join(map(str, INPUT_DTYPES))}"
            )
        if targets.shape[:1] != inputs.shape[:1] or targets.ndim > 2:
            raise InputError(
                f"{folder}: {len(inputs)} {part} examples but targets of shape {targets.shape}"
            )
        if inputs.size == 0 and (part == "training" or len(inputs)):
            raise InputError(f"{folder}: no {part} examples (shape {inputs.shape})")
        if inputs.dtype.kind == "f" and not np.isfinite(inputs).all():
            place = int(np.argwhere(~np.isfinite(inputs))[0][0])
            raise InputError(
                f"{folder}: {part} example {place} is not finite; remove it, or fill the gap"
            )
        if n_classes:
            _check_labels(folder, part, targets, n_classes)
    if arrays.train_inputs.shape[1:] != arrays.test_inputs.shape[1:]:
        raise InputError(
            f"{folder}: training examples have the shape "
            f"{shorten(str(arrays.train_inputs.shape[1:]), 120)}, test examples "
            f"{shorten(str(arrays.test_inputs.shape[1:]), 120)}; should be equal"
        )
    targets, others = arrays.train_targets, arrays.test_targets
    if len(others) and targets.shape[1:] != others.shape[1:]:
        raise InputError(
            f"{folder}: training targets have the shape {targets.shape}, test targets "
            f"{others.shape}; should differ at most in the number of examples"
        )
    if arrays.train_inputs.dtype != arrays.test_inputs.dtype:
        raise InputError(
            f"{folder}: training inputs are {arrays.train_inputs.dtype}, test inputs "
            f"{arrays.test_inputs.dtype}; should be equal"
        )


def _check_labels(folder: Path, part: str, labels: Array, n_classes: int) -> None:
    """Refuses labels that are not indices of the class names."""
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        found = one_line(f"{labels.shape} {labels.dtype}")
        raise InputError(
            f"{folder}: {part} targets are {found}; should be (n,) of whole numbers, which index "
            "the class names"
        )
    for label in (labels.max(), labels.min()) if len(labels) else ():
        if not 0 <= label < n_classes:
            raise InputError(
                f"{folder}: a {part} label is {label}, should be at least 0 and below {n_classes}, "
                "the number of classes"
            )
