"""Finished trials, kept so that none is ever run twice.

The store lies outside the stage's outputs, which DVC clears before a run. A trial is filed under a
hash of everything that decides its result, at once when it is done; so a stage that was killed goes
on where it was, and an added seed or rate trains only what is new.
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
    """A result, and which trial's it is: `key` is that of its `Work`."""

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
        """The trial's result, or None if it is not there, damaged, or another trial's."""
        path = self._path(key, wanted)
        try:
            stored = _STORED.decode(path.read_bytes())
            record = _RECORD.decode(stored.record.tobytes())
        except (OSError, ValueError):
            return None
        if (record.key, record.trial) != (key, wanted):
            return None
        with suppress(OSError):  # of a folder that may only be read
            os.utime(path)
        return TrialResult(
            row=replace(record.row, setting=wanted.setting),
            curve=tuple(replace(epoch, setting=wanted.setting) for epoch in record.curve),
            weights=stored.weights,
        )

    def put(self, key: str, done: Trial, result: TrialResult) -> None:
        """Files the result, at once whole or not at all.

        Raises:
            InputError: If the folder cannot be written to.
        """
        record = _RECORD.encode(_Record(key, done, result.row, result.curve))
        content = _STORED.encode(_Stored(np.frombuffer(record, np.uint8), result.weights))
        try:
            write_bytes(self._path(key, done), content)
        except OSError as error:
            raise InputError(f"{self._folder}: cannot keep a trial ({error.strerror})") from None

    def _path(self, key: str, trial: Trial) -> Path:
        name = f"{key} {trial.phase} {trial.learning_rate_factor!r} {trial.seed}"
        digest = hashlib.sha256(name.encode()).hexdigest()
        return self._folder / digest[:2] / f"{digest}.npz"


def locate_store() -> Path:
    """The folder that TRIAL_STORE names, which several machines may share, or one of our own."""
    given = os.environ.get(STORE_VARIABLE)
    return Path(given) if given else locate_cache("trials")


def prune(folder: Path, unused_since_s: float, limit_bytes: int = LIMIT_BYTES) -> None:
    """Removes the files that were used longest ago until the rest keep within the limit.

    Args:
        folder: Of the store.
        unused_since_s: What was used after this time, in seconds of the epoch, stays: the present
            run needs it.
        limit_bytes: For all that may go.
    """
    files = []
    for path in folder.glob("*/*.npz"):
        with suppress(FileNotFoundError):  # another process was quicker
            files.append((path, path.stat()))
    n_bytes = sum(stat.st_size for _, stat in files)
    for path, stat in sorted(files, key=lambda file: file[1].st_mtime):
        if n_bytes <= limit_bytes or stat.st_mtime >= unused_since_s:
            break
        with suppress(OSError):  # of somebody else's, or gone
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
