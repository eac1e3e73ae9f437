"""Whatever the user's own files hold, they are read or refused, never a traceback."""

import shutil
from collections.abc import Sequence
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from PIL import Image
from pyarrow import parquet

from stages.common.data import RAW_ARRAYS
from stages.common.errors import InputError
from stages.common.files import Array
from stages.download.custom import obtain_custom
from stages.preprocess.decode import decode
from stages.preprocess.table import read_table
from tests.custom import custom, encode


def npz(save: Any = np.savez) -> bytes:
    with BytesIO() as file:
        save(file, train_x=np.ones((3, 4)), train_y=np.array(["a", "b", "a"]))
        return file.getvalue()


def table() -> bytes:
    columns = {"a": [1.5, None, 2.0], "b": pa.array(["p", "q", None]), "y": [0, 1, 0]}
    with BytesIO() as file:
        parquet.write_table(pa.table(columns), file)
        return file.getvalue()


NOISE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (7, 9), np.uint8))
FILES = {
    "data.npz": [npz(), npz(np.savez_compressed)],
    "cat/1.png": [encode(NOISE), encode(NOISE.convert("P"), transparency=3)],
    "cat/1.jpg": [encode(NOISE.convert("RGB"), "JPEG", exif=b"Exif\0\0II*\0\x08\0\0\0")],
    "data.csv": [b"a,b,y\n1.5,p,0\n,q,1\n2,,0\n"],
    "data.parquet": [table()],
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("custom")


@st.composite
def damaged(draw: st.DrawFn, contents: Sequence[bytes]) -> bytes:
    """A file of which some bytes are others, or lost, or something stands behind."""
    content = bytearray(draw(st.sampled_from(contents)))
    for _ in range(draw(st.integers(0, 4))):
        content[draw(st.integers(0, len(content) - 1))] = draw(st.integers(0, 255))
    start = draw(st.integers(0, len(content)))
    end = draw(st.integers(start, min(len(content), start + 20)))
    return bytes(content[:start] + draw(st.binary(max_size=4)) + content[end:])


def prepare(folder: Path, name: str, content: bytes) -> None:
    """Obtains and decodes a data set of which one file has this content."""
    shutil.rmtree(folder)
    files = {name: content}
    if name.startswith("cat/"):
        files |= dict.fromkeys(("cat/2.png", "dog/1.png", "dog/2.png"), encode(NOISE))
    for file, its_content in files.items():
        path = folder / "given" / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(its_content)
    raw = folder / "raw"
    source = obtain_custom(custom(folder / "given"), raw)
    if source.format == "table":
        columns, table = read_table(raw, source)
        inputs, _, features = columns.encode(np.arange(len(table.train_targets)))
        assert np.isfinite(inputs).all()
        assert inputs.shape == (len(table.train_targets), len(features))
    else:
        decode(raw, source)


@pytest.mark.parametrize("name", FILES)
@given(data=st.data())
def test_a_damaged_file_is_read_or_refused(folder: Path, name: str, data: st.DataObject) -> None:
    with suppress(InputError):
        prepare(folder, name, data.draw(damaged(FILES[name])))


@pytest.mark.parametrize("name", FILES)
@given(content=st.binary(max_size=300))
def test_any_bytes_are_read_or_refused(folder: Path, name: str, content: bytes) -> None:
    with suppress(InputError):
        prepare(folder, name, content)


cells = st.text(max_size=6) | st.integers().map(str) | st.floats().map(str) | st.just("")


@given(rows=st.lists(st.lists(cells, min_size=3, max_size=3), max_size=8), names=st.text("aby,\n"))
def test_any_csv_is_read_or_refused(folder: Path, rows: list[list[str]], names: str) -> None:
    lines = [names or "a,b,y", *map(",".join, rows)]
    with suppress(InputError):
        prepare(folder, "data.csv", "\n".join(lines).encode("utf-8", "surrogatepass"))


@given(
    inputs=arrays(
        st.sampled_from(["bool", "uint8", "int8", "int32", "uint16", "float16", "float32"]),
        array_shapes(min_dims=1, max_dims=4, min_side=2, max_side=4),
    )
)
def test_inputs_are_kept_to_the_last_digit_or_refused(folder: Path, inputs: Array) -> None:
    shutil.rmtree(folder)
    (folder / "given").mkdir(parents=True)
    np.savez(folder / "given" / "data.npz", train_x=inputs, train_y=np.arange(len(inputs)))
    if not np.isfinite(inputs).all():
        with pytest.raises(InputError, match=r"train_x: example \d"):
            obtain_custom(custom(folder / "given"), folder / "raw")
        return
    obtain_custom(custom(folder / "given"), folder / "raw")
    kept = RAW_ARRAYS.read(folder / "raw").train_inputs
    np.testing.assert_array_equal(kept.reshape(inputs.shape), inputs)
