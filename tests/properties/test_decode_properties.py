"""Whatever array is encoded as IDX decodes to itself; whatever is cut or longer is refused."""

import gzip
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from stages.common.errors import InputError
from stages.common.files import UInt8Array
from stages.preprocess.decode import read_idx
from tests.examples import encode_idx

idx_arrays = arrays(np.uint8, array_shapes(max_dims=4, min_side=0, max_side=5))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("idx")


def write(folder: Path, array: UInt8Array, packed: bytes) -> Path:
    path = folder / f"train-any-idx{array.ndim}-ubyte.gz"
    path.write_bytes(packed)
    return path


@given(array=idx_arrays)
def test_an_encoded_array_decodes_to_itself(folder: Path, array: UInt8Array) -> None:
    path = write(folder, array, gzip.compress(encode_idx(array)))
    np.testing.assert_array_equal(read_idx(path), array, strict=True)


@given(array=idx_arrays, data=st.data())
def test_a_cut_array_is_refused(folder: Path, array: UInt8Array, data: st.DataObject) -> None:
    content = encode_idx(array)
    n_kept = data.draw(st.integers(0, len(content) - 1))
    path = write(folder, array, gzip.compress(content[:n_kept]))
    with pytest.raises(InputError, match=path.name):
        read_idx(path)


@given(array=idx_arrays, more=st.binary(min_size=1, max_size=20))
def test_an_array_with_more_behind_it_is_refused(
    folder: Path, array: UInt8Array, more: bytes
) -> None:
    path = write(folder, array, gzip.compress(encode_idx(array) + more))
    with pytest.raises(InputError, match=path.name):
        read_idx(path)


@given(array=idx_arrays, data=st.data())
def test_a_cut_file_is_refused(folder: Path, array: UInt8Array, data: st.DataObject) -> None:
    packed = gzip.compress(encode_idx(array))
    n_kept = data.draw(st.integers(0, len(packed) - 1))
    path = write(folder, array, packed[:n_kept])
    with pytest.raises(InputError, match=path.name):
        read_idx(path)


@given(array=idx_arrays, more=st.binary(min_size=1, max_size=20).filter(any))
def test_a_file_with_more_behind_it_is_refused(
    folder: Path, array: UInt8Array, more: bytes
) -> None:
    """But for zeros, which gzip calls padding."""
    path = write(folder, array, gzip.compress(encode_idx(array)) + more)
    with pytest.raises(InputError, match=path.name):
        read_idx(path)
