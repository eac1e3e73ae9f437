"""From the files of data/raw to checked arrays.

Source of the IDX format: http://yann.lecun.com/exdb/mnist/ (Y. LeCun, C. Cortes, C. J. C. Burges).
"""

import math
import sys
import zlib
from pathlib import Path

import numpy as np

from stages.common.data import RAW_ARRAYS, RawArrays, Source
from stages.common.errors import InputError, one_line
from stages.common.files import UInt8Array, read_checked

_UNSIGNED_BYTE = 0x08
# zlib's number for its largest window, in gzip's wrapping.
_GZIP = 16 + zlib.MAX_WBITS


def decode(folder: Path, source: Source) -> RawArrays:
    """Reads a data set and checks that it is one.

    Returns:
        Images `(n, height, width, channels) uint8` and labels `(n,) uint8` below the number of
        class names, as many of the one as of the other.

    Raises:
        InputError: If a file is not what its format demands, or the arrays do not fit together.
    """
    if source.format == "npz":
        arrays = RAW_ARRAYS.read(folder)
    else:
        images, labels, test_images, test_labels = (
            read_idx(folder / file.name) for file in source.files
        )
        arrays = RawArrays(
            images[..., np.newaxis], labels, test_images[..., np.newaxis], test_labels
        )
    _check(folder, arrays, n_classes=len(source.class_names))
    return arrays


def read_idx(path: Path) -> UInt8Array:
    """Reads a gzipped IDX file of unsigned bytes.

    Args:
        path: Its name says, as MNIST's do, how many dimensions it has: `…-idx3-ubyte.gz`.

    Returns:
        An array of the shape that the header gives.

    Raises:
        InputError: If the file is cut short, longer than its header says, or no such IDX file.
    """
    n_dimensions = int(path.name.partition("-idx")[2][:1])
    header_bytes = 4 + 4 * n_dimensions
    expected = bytes((0, 0, _UNSIGNED_BYTE, n_dimensions))
    try:
        packed = read_checked(path)
    except OSError as error:
        raise InputError(f"{path}: no readable gzip file ({one_line(error)})") from None
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
    """The beginning of a gzip file's content, checked by its checksum if that is all.

    Takes no more memory than that, however much is packed and however large `at_most` is.
    """
    unpacking = zlib.decompressobj(_GZIP)
    try:
        content = unpacking.decompress(packed, min(at_most, sys.maxsize))
    except zlib.error as error:
        raise InputError(f"{path}: no readable gzip file ({one_line(error)})") from None
    if len(content) < at_most and not unpacking.eof:
        raise InputError(f"{path}: no readable gzip file (cut short)")
    if unpacking.unused_data:
        raise InputError(f"{path}: no readable gzip file (more bytes after its end)")
    return content


def _check(folder: Path, arrays: RawArrays, n_classes: int) -> None:
    parts = {
        "training": (arrays.train_images, arrays.train_labels),
        "test": (arrays.test_images, arrays.test_labels),
    }
    for part, (images, labels) in parts.items():
        if images.ndim != 4 or images.dtype != np.uint8 or labels.dtype != np.uint8:
            found = one_line(f"{images.shape} {images.dtype}, labels {labels.dtype}")
            raise InputError(
                f"{folder}: {part} images are {found}; "
                "should be (n, height, width, channels) uint8, and uint8"
            )
        if labels.shape != (len(images),):
            raise InputError(
                f"{folder}: {len(images)} {part} images but labels of shape {labels.shape}"
            )
        if images.size == 0:
            raise InputError(f"{folder}: no {part} images (shape {images.shape})")
        if labels.max() >= n_classes:
            raise InputError(
                f"{folder}: a {part} label is {labels.max()}, should be below {n_classes}, the "
                "number of classes"
            )
    if arrays.train_images.shape[1:] != arrays.test_images.shape[1:]:
        raise InputError(
            f"{folder}: training images are {arrays.train_images.shape[1:]}, test images "
            f"{arrays.test_images.shape[1:]} (height, width, channels); should be equal"
        )
