"""Files: atomic writes, and the three formats that stages exchange.

A file is declared once, as a value that knows its name, type and format and can read and write it:
`TRIALS = Csv("trials.csv", TrialRow)`, then `TRIALS.read(folder)` and `TRIALS.write(folder, rows)`.
Equal values give equal bytes under every version of Python.

DVC trusts its cache and does not notice damage there. So a stage whose outputs DVC keeps ends with
`write_digests`, and reading one of its files fails if the content has changed since.
"""

import csv
import hashlib
import json
import shlex
import zipfile
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from functools import cached_property
from io import BytesIO, StringIO
from pathlib import Path
from secrets import token_hex
from typing import Any, Generic, TypeVar, get_args, get_origin, get_type_hints

import numpy as np
import numpy.typing as npt
from pydantic import ConfigDict, TypeAdapter, ValidationError

from stages.common.errors import InputError, legible, one_line

Array = npt.NDArray[Any]
UInt8Array = npt.NDArray[np.uint8]
IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.floating[Any]]
T = TypeVar("T")

# Measured values are written with this many significant digits: enough to tell them apart, without
# digits that are only noise.
N_DIGITS = 6


def locate_cache(name: str) -> Path:
    """A path in `.cache`, outside every stage's outputs, so that DVC does not clear it."""
    return _project() / ".cache" / name


def _project() -> Path:
    """The project's own folder, also within an experiment.

    DVC runs a queued experiment, or one with `--temp`, in a copy of the project below `.dvc`; this
    is the original, not the copy.
    """
    inside_dvc = (folder for folder in Path.cwd().parents if folder.name == ".dvc")
    projects = [folder.parent for folder in inside_dvc]
    return Path(*projects[-1:])


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Makes an OSError in the block name the file; a full disk's error names none by itself."""
    try:
        yield
    except OSError as error:
        error.filename, error.filename2 = str(path), None
        raise


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yields a temporary path next to `path`, and moves it to `path` when the block succeeds."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # The suffix stays last, for libraries that choose the format by it.
    temporary = path.with_name(f".{path.stem}.{token_hex(4)}{path.suffix}")
    try:
        with naming(path):
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
    """A file of this name, in any folder, that holds a value of one type."""

    name: str

    def read(self, folder: Path) -> T:
        """Reads the folder's file.

        Raises:
            InputError: If it is missing, not what its stage wrote, or not of this type.
        """
        path = folder / self.name
        try:
            return self.decode(read_checked(path))
        except (OSError, ValueError) as error:
            raise InputError(
                f"{path}: missing or damaged; run `dvc repro` ({describe_fault(error)})"
            ) from None

    def write(self, folder: Path, value: T) -> None:
        write_bytes(folder / self.name, self.encode(value))

    @abstractmethod
    def decode(self, content: bytes) -> T:
        """Decodes the bytes of a file.

        Raises:
            ValueError: If they are not a value of this file's type.
        """

    @abstractmethod
    def encode(self, value: T) -> bytes:
        """Encodes a value as the bytes of a file."""


@dataclass(frozen=True)
class Json(File[T]):
    """A value of the type `kind`; floats are rounded unless the file is `exact`."""

    kind: type[T]
    exact: bool = False

    def decode(self, content: bytes) -> T:
        value = self._adapter.validate_json(content)
        # Refuses what could not have been written, such as a NaN.
        self.encode(value)
        return value

    def encode(self, value: T) -> bytes:
        content = self._adapter.dump_python(value)
        text = json.dumps(
            content if self.exact else _rounded(content),
            indent=2,
            ensure_ascii=False,
            allow_nan=False,
        )
        return f"{text}\n".encode()

    @cached_property
    def _adapter(self) -> TypeAdapter[T]:
        """Kept, because building it takes longer than reading a small file."""
        return TypeAdapter(self.kind)


@dataclass(frozen=True)
class Csv(File[Sequence[T]]):
    """A row for each value of the dataclass `kind` or of a union of such; an empty cell is None.

    The columns are the fields; for a union, those of all its members. Control characters and the
    like are replaced, because versions of Python write them in different ways.
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
        return self._adapter.validate_python(rows)

    def encode(self, value: Sequence[T]) -> bytes:
        text = StringIO(newline="")
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(self._columns)
        for row in value:
            cells = _rounded([getattr(row, column, None) for column in self._columns])
            writer.writerow([legible(cell) if isinstance(cell, str) else cell for cell in cells])
        return text.getvalue().encode()

    @cached_property
    def _adapter(self) -> TypeAdapter[list[T]]:
        rows = list[self.kind]  # type: ignore[name-defined]
        return TypeAdapter(rows, config=ConfigDict(allow_inf_nan=False))

    @property
    def _columns(self) -> list[str]:
        kinds = get_args(self.kind) or (self.kind,)
        return list(dict.fromkeys(field.name for kind in kinds for field in fields(kind)))


@dataclass(frozen=True)
class Arrays(File[T]):
    """NumPy's `.npz` format for the dataclass `kind`, whose fields are arrays or tuples of arrays.

    The i-th array of a tuple is called `FIELD.000i`.
    """

    kind: type[T]

    def decode(self, content: bytes) -> T:
        hints = get_type_hints(self.kind)
        values: dict[str, Any] = {n: () for n, hint in hints.items() if get_origin(hint) is tuple}
        for name, array in sorted(_read_npz(content).items()):
            field, is_part, _ = name.partition(".")
            values[field] = (*values[field], array) if is_part and field in values else array
        if values.keys() != hints.keys():
            raise ValueError(f"arrays {sorted(values)}, should be {sorted(hints)}")
        value = self.kind(**values)
        # zipfile overlooks damage in parts that it does not need.
        if self.encode(value) != content:
            raise ValueError("the bytes differ from those that these arrays are written as")
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

    Left to themselves, even patch releases of Python write different headers.
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


@dataclass(frozen=True)
class Digests:
    """The MD5 of each file in a folder, by name; objects in DVC's cache are named by it, too."""

    md5: Mapping[str, str]


DIGESTS = Json("digests.json", Digests)


def write_digests(folder: Path, *names: str) -> None:
    """Records what the stage wrote into the folder; call it after all other writes there."""
    DIGESTS.write(folder, Digests({name: _md5((folder / name).read_bytes()) for name in names}))


def read_checked(path: Path) -> bytes:
    """Reads a file and compares it with the digests in its folder, if there are any.

    Raises:
        OSError, ValueError: If a file cannot be read.
        InputError: If its content is not what its stage wrote.
    """
    content = path.read_bytes()
    digests = path.with_name(DIGESTS.name)
    if path != digests and digests.exists():
        written = DIGESTS.read(path.parent).md5.get(path.name)
        if written and written != _md5(content):
            cached = _project() / ".dvc/cache/files/md5" / written[:2] / written[2:]
            raise InputError(
                f"{path}: not what its stage wrote; its copy in DVC's cache may be damaged. "
                f"Remove both, `rm -f {shlex.quote(str(cached))} {shlex.quote(str(path))}`, "
                "then run `dvc repro`"
            )
    return content


def _md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def as_written(value: float) -> float:
    """The value as files hold it: rounded to N_DIGITS significant digits."""
    return float(f"{value:.{N_DIGITS}g}")


def describe_fault(error: Exception) -> str:
    """What is wrong with a file's content, on one line."""
    if isinstance(error, ValidationError):
        fault = error.errors(include_url=False)[0]
        return one_line(f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}")
    return one_line(error)


def _read_npz(content: bytes) -> dict[str, npt.NDArray[Any]]:
    """The arrays by name; takes no more memory than the content, whatever its headers claim."""
    try:
        with zipfile.ZipFile(BytesIO(content)) as archive:
            _check_sizes(archive, len(content))
            return {
                name.removesuffix(".npy"): _read_npy(archive.read(name))
                for name in archive.namelist()
            }
    except Exception as error:  # noqa: BLE001, damaged bytes make zipfile and NumPy raise many kinds
        raise ValueError(one_line(error) or type(error).__name__) from None


def _check_sizes(archive: zipfile.ZipFile, n_bytes: int) -> None:
    if sum(member.file_size for member in archive.infolist()) > n_bytes:
        raise ValueError(f"claims to hold more than its {n_bytes} bytes")


def _read_npy(content: bytes) -> npt.NDArray[Any]:
    """A read-only array from the bytes of NumPy's format 1.0."""
    with BytesIO(content) as file:
        np.lib.format.read_magic(file)
        shape, is_fortran, dtype = np.lib.format.read_array_header_1_0(file)
        values = np.frombuffer(content, dtype, offset=file.tell())
    return values.reshape(shape, order="F" if is_fortran else "C")


def _rounded(value: Any) -> Any:
    """Rounds floats, in nested values as well."""
    if isinstance(value, float):
        return as_written(value)
    if isinstance(value, Mapping):
        return {key: _rounded(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(entry) for entry in value]
    return value
