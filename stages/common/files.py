"""Files: atomic writes, and the three kinds that pass between stages.

A file is declared once, as a value that says its name, its type and how it is coded, and that reads
and writes itself: `TRIALS = Csv("trials.csv", TrialRow)`, then `TRIALS.read(folder)` and
`TRIALS.write(folder, rows)`. Equal values give equal bytes under every version of Python.
"""

import csv
import json
import zipfile
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from io import BytesIO, StringIO
from pathlib import Path
from secrets import token_hex
from typing import Any, Generic, TypeVar, get_args, get_origin, get_type_hints

import numpy as np
import numpy.typing as npt
from pydantic import TypeAdapter, ValidationError

from stages.common.errors import InputError, one_line

UInt8Array = npt.NDArray[np.uint8]
IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.floating[Any]]
T = TypeVar("T")

# Measured values are written with so many significant digits, so that a file's bytes say what can
# be told apart and nothing more.
N_DIGITS = 6


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Gives a path beside `path` to write to, which takes its place when the block succeeds."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # The suffix stays last, for libraries that go by it.
    temporary = path.with_name(f".{path.stem}.{token_hex(4)}{path.suffix}")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_bytes(path: Path, content: bytes) -> None:
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def write_text(path: Path, text: str) -> None:
    write_bytes(path, text.encode())


@dataclass(frozen=True)
class File(ABC, Generic[T]):
    """A file of this name, in whichever folder, that holds a value of one type."""

    name: str

    def read(self, folder: Path) -> T:
        """Reads the folder's file.

        Raises:
            InputError: If it is missing or holds no such value.
        """
        path = folder / self.name
        try:
            return self.decode(path.read_bytes())
        except (OSError, ValueError) as error:
            raise InputError(
                f"{path}: not as its stage writes it; run `dvc repro` ({describe_fault(error)})"
            ) from None

    def write(self, folder: Path, value: T) -> None:
        write_bytes(folder / self.name, self.encode(value))

    @abstractmethod
    def decode(self, content: bytes) -> T:
        """The value that the bytes stand for.

        Raises:
            ValueError: If they stand for none.
        """

    @abstractmethod
    def encode(self, value: T) -> bytes:
        """The bytes that stand for the value."""


@dataclass(frozen=True)
class Json(File[T]):
    """A value of the type `kind`; floats are rounded unless the file is `exact`."""

    kind: type[T]
    exact: bool = False

    def decode(self, content: bytes) -> T:
        return TypeAdapter(self.kind).validate_json(content)

    def encode(self, value: T) -> bytes:
        content = TypeAdapter(self.kind).dump_python(value)
        text = json.dumps(
            content if self.exact else _rounded(content),
            indent=2,
            ensure_ascii=False,
            allow_nan=False,
        )
        return f"{text}\n".encode()


@dataclass(frozen=True)
class Csv(File[Sequence[T]]):
    """A row for each value of the dataclass `kind`, or of a union of some; an empty cell is None.

    The columns are the fields, of a union those of all its members.
    """

    kind: type[T]

    def decode(self, content: bytes) -> Sequence[T]:
        try:
            columns, *lines = csv.reader(StringIO(content.decode(), newline=""))
        except csv.Error as error:
            raise ValueError(str(error)) from None
        if columns != self._columns:
            raise ValueError(f"columns {columns}, should be {self._columns}")
        rows = [dict(zip(columns, (cell or None for cell in line), strict=True)) for line in lines]
        adapter: TypeAdapter[list[T]] = TypeAdapter(list[self.kind])  # type: ignore[name-defined]
        return adapter.validate_python(rows)

    def encode(self, value: Sequence[T]) -> bytes:
        text = StringIO(newline="")
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(self._columns)
        for row in value:
            writer.writerow(_rounded([getattr(row, column, None) for column in self._columns]))
        return text.getvalue().encode()

    @property
    def _columns(self) -> list[str]:
        kinds = get_args(self.kind) or (self.kind,)
        return list(dict.fromkeys(field.name for kind in kinds for field in fields(kind)))


@dataclass(frozen=True)
class Arrays(File[T]):
    """NumPy's `.npz` of the dataclass `kind`, whose fields are arrays or tuples of arrays.

    The i-th array of a tuple is called `FIELD.000i`.
    """

    kind: type[T]

    def decode(self, content: bytes) -> T:
        hints = get_type_hints(self.kind)
        values: dict[str, Any] = {name: () for name, hint in hints.items() if _is_tuple(hint)}
        for name, array in sorted(_read_npz(content).items()):
            field, is_part, _ = name.partition(".")
            values[field] = (*values[field], array) if is_part and field in values else array
        if values.keys() != hints.keys():
            raise ValueError(f"arrays {sorted(values)}, should be {sorted(hints)}")
        value = self.kind(**values)
        # zipfile overlooks damage in parts that it does not need.
        if self.encode(value) != content:
            raise ValueError("not the bytes that these arrays are written in")
        return value

    def encode(self, value: T) -> bytes:
        members = {}
        for name, content in vars(value).items():
            parts = (
                {f"{name}.{i:04}": array for i, array in enumerate(content)}
                if isinstance(content, tuple)
                else {name: content}
            )
            for part, array in parts.items():
                with BytesIO() as file:
                    np.lib.format.write_array(file, np.asarray(array), allow_pickle=False)
                    members[f"{part}.npy"] = file.getvalue()
        return write_archive(members)


def write_archive(members: Mapping[str, bytes]) -> bytes:
    """A ZIP archive, uncompressed, with no date and every header field fixed.

    What Python's versions put there by themselves differs, from one patch to the next.
    """
    with BytesIO() as file:
        with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
            for name, content in members.items():
                entry = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
                entry.create_system = 3  # Unix
                entry.create_version = entry.extract_version = 20
                entry.external_attr = 0o600 << 16
                archive.writestr(entry, content)
        return file.getvalue()


def describe_fault(error: Exception) -> str:
    """What is wrong with a file's content, on one line."""
    if isinstance(error, ValidationError):
        fault = error.errors(include_url=False)[0]
        return one_line(f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}")
    return one_line(error)


def _read_npz(content: bytes) -> dict[str, npt.NDArray[Any]]:
    try:
        with np.load(BytesIO(content), allow_pickle=False) as archive:
            return dict(archive)
    except Exception as error:  # noqa: BLE001, damaged bytes make zipfile and NumPy raise many kinds
        raise ValueError(one_line(error) or type(error).__name__) from None


def _is_tuple(hint: Any) -> bool:
    return get_origin(hint) is tuple


def _rounded(value: Any) -> Any:
    """Cuts floats to N_DIGITS significant digits, in nested values as well."""
    if isinstance(value, float):
        return float(f"{value:.{N_DIGITS}g}")
    if isinstance(value, Mapping):
        return {key: _rounded(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(entry) for entry in value]
    return value
