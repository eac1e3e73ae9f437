"""Keeps finished trials, so that none needs to run twice.

The store is outside the stage's outputs, which DVC clears before a run. A trial is stored as soon
as it is done, under a hash of everything that its result depends on. So a stage that was killed
continues where it stopped, and after adding a seed or a rate only the new trials run.
"""

import hashlib
import os
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from stages.common.data import Examples
from stages.common.errors import InputError
from stages.common.files import Arrays, FloatArray, Json, UInt8Array, locate_cache, write_bytes
from stages.common.runs import EpochRow, TrialRow
from stages.engine.trial import Trial, TrialResult

STORE_VARIABLE = "TRIAL_STORE"
LIMIT_BYTES = 2 * 2**30


@dataclass(frozen=True)
class _Record:
    """A result and its trial; `key` is that of the trial's `Work`."""

    key: str
    trial: Trial
    row: TrialRow
    curve: tuple[EpochRow, ...]


@dataclass(frozen=True)
class _Stored:
    """A file of the store: the record as JSON, in bytes, and the weights."""

    record: UInt8Array
    weights: tuple[FloatArray, ...]


_RECORD = Json("record", _Record, exact=True)
_STORED = Arrays("trial.npz", _Stored)


class TrialStore:
    """Results of trials in a folder that several processes may use at once."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def get(self, key: str, wanted: Trial) -> TrialResult | None:
        """The trial's result, or None if the file is missing, damaged, or of another trial."""
        try:
            stored = _STORED.decode(read_from_store(self._path(key, wanted)))
            record = _RECORD.decode(stored.record.tobytes())
        except (OSError, ValueError):
            return None
        if (record.key, record.trial) != (key, wanted):
            return None
        return TrialResult(
            row=replace(record.row, setting=wanted.setting),
            curve=tuple(replace(epoch, setting=wanted.setting) for epoch in record.curve),
            weights=stored.weights,
        )

    def put(self, key: str, done: Trial, result: TrialResult) -> None:
        """Stores the result, whole or not at all.

        Raises:
            InputError: If the folder cannot be written to.
        """
        record = _RECORD.encode(_Record(key, done, result.row, result.curve))
        content = _STORED.encode(_Stored(np.frombuffer(record, np.uint8), result.weights))
        write_to_store(self._path(key, done), content)

    def _path(self, key: str, trial: Trial) -> Path:
        name = f"{key} {trial.phase} {trial.learning_rate_factor!r} {trial.seed}"
        return path_in_store(self._folder, name)


def path_in_store(folder: Path, name: str, kind: str = "") -> Path:
    """The store's file for a name, which may be any text; `kind` tells files that hold no trial."""
    digest = hashlib.sha256(name.encode()).hexdigest()
    return folder / digest[:2] / f"{digest}{kind}.npz"


def read_from_store(path: Path) -> bytes:
    """Reads a file of the store, and notes that it was used.

    Raises:
        OSError: If it cannot be read.
    """
    content = path.read_bytes()
    with suppress(OSError):  # the folder may be read-only
        os.utime(path)
    return content


def write_to_store(path: Path, content: bytes) -> None:
    """Writes a file of the store, whole or not at all.

    Raises:
        InputError: If the folder cannot be written to.
    """
    try:
        write_bytes(path, content)
    except OSError as error:
        raise InputError(f"{path.parents[1]}: cannot keep a trial ({error.strerror})") from None


def locate_store() -> Path:
    """The folder that TRIAL_STORE names, which several machines may share, or the project's."""
    given = os.environ.get(STORE_VARIABLE)
    return Path(given) if given else locate_cache("trials")


def prune(folder: Path, unused_since_s: float, limit_bytes: int = LIMIT_BYTES) -> None:
    """Removes the least recently used files until the store is within the limit.

    Args:
        folder: The store's folder.
        unused_since_s: Files used since this time, in seconds since 1970, stay even beyond the
            limit, because the present run needs them.
        limit_bytes: How much the store may hold.
    """
    files = []
    for path in folder.glob("*/*.npz"):
        with suppress(FileNotFoundError):  # another process has removed it
            files.append((path, path.stat()))
    n_bytes = sum(stat.st_size for _, stat in files)
    for path, stat in sorted(files, key=lambda file: file[1].st_mtime):
        if n_bytes <= limit_bytes or stat.st_mtime >= unused_since_s:
            break
        with suppress(OSError):  # another user's file, or already removed
            if path.stat().st_mtime > stat.st_mtime:  # used since it was listed
                continue
            path.unlink()
        n_bytes -= stat.st_size


def digest_examples(*splits: Examples) -> str:
    """SHA-256 of the arrays, their shapes included."""
    digest = hashlib.sha256()
    for split in splits:
        for array in (split.inputs, split.targets):
            digest.update(f"{array.shape} {array.dtype}".encode())
            digest.update(array.tobytes())
    return digest.hexdigest()
