"""The user's own data for the tests: how they are laid down, obtained and refused."""

from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from stages.common.data import RAW_ARRAYS, RawArrays, Source
from stages.common.errors import InputError
from stages.common.params import Custom, DatasetParams, Simulated
from stages.download.custom import obtain_custom
from stages.download.raw import IDX_NAMES

SIMULATED = Simulated(n_train=1, n_test=1, height=1, width=1, n_classes=2, noise=0.0, seed=0)
RAW = Path("data/raw")
GIVEN = Path("data/custom/shoes")
X = np.arange(8, dtype=np.uint8).reshape(4, 2)
Y = np.array([0, 1, 0, 1])
TABLE = "a,y\n1,2\n3,4\n"


def enter(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes the folder a project with an empty place for data."""
    monkeypatch.chdir(folder)
    RAW.mkdir(parents=True)
    GIVEN.mkdir(parents=True)


def custom(
    path: Path | str = GIVEN, kind: str = "auto", target: str = "y", resize: tuple[int, ...] = ()
) -> DatasetParams:
    settings: Any = {"format": kind, "target": target, "resize": resize}
    return DatasetParams(
        name="custom", path=str(path), custom=Custom(**settings), simulated=SIMULATED
    )


def obtain_arrays(**settings: Any) -> tuple[Source, RawArrays]:
    source = obtain_custom(custom(**settings), RAW)
    return source, RAW_ARRAYS.read(RAW)


def refusal(**settings: Any) -> str:
    with pytest.raises(InputError) as caught:
        obtain_custom(custom(**settings), RAW)
    (line,) = str(caught.value).splitlines()
    assert list(RAW.iterdir()) == []
    return line


def write(name: str, content: bytes | str = b"") -> Path:
    path = GIVEN / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def write_arrays(name: str = "data.npz", **arrays: Any) -> Path:
    with BytesIO() as file:
        np.savez(file, **arrays)
        return write(name, file.getvalue())


def encode(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    with BytesIO() as file:
        image.save(file, kind, **options)
        return file.getvalue()


def grey(value: int, size: tuple[int, int] = (3, 2)) -> Image.Image:
    """A picture of one shade; the size is width and height, as Pillow has it."""
    return Image.new("L", size, value)


def write_pictures(pictures: Mapping[str, Image.Image]) -> None:
    for name, image in pictures.items():
        write(name, encode(image, "PNG" if name.lower().endswith("png") else "JPEG"))


TWO_CLASSES = {f"{name}/{i}.png": grey(10 * i) for name in ("cat", "dog") for i in (1, 2)}


def write_idx(*left_out: str) -> None:
    for name in IDX_NAMES:
        if name not in left_out:
            write(name, f"content of {name}")
