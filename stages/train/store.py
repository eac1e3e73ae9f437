"""Finished trials, kept so that none is ever run twice.

The store lies outside the stage's outputs, which DVC clears before a run. A trial is filed under a
hash of everything that decides its result, at once when it is done; so a stage that was killed goes
on where it was, and an added seed or rate trains only what is new.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from stages.common.artifacts import EpochRow, Examples, TrialRow, replacing
from stages.common.console import InputError
from stages.train.trial import Trial, TrialResult

STORE_VARIABLE, STORE_FOLDER = "TRIAL_STORE", ".cache/trials"
LIMIT_BYTES = 2 * 2**30


class TrialStore:
    """The trials of one setting, in a folder that holds many.

    Args:
        folder: Shared by all settings; several processes may use it at once.
        setting: Whatever else than the trial decides its result, as JSON can hold it.
    """

    def __init__(self, folder: Path, setting: Mapping[str, Any]) -> None:
        self._folder = folder
        self._setting = setting

    @property
    def key(self) -> str:
        """Identifies the setting."""
        return _digest(self._setting)

    def get(self, wanted: Trial) -> TrialResult | None:
        """The trial's result, or None if it is not there or damaged."""
        path = self._path(wanted)
        try:
            with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
                rows = json.loads(archive["rows"].tobytes())
                weights = [archive[name] for name in sorted(archive) if name != "rows"]
            result = TrialResult(
                row=TrialRow(**rows["row"]),
                curve=tuple(EpochRow(**row) for row in rows["curve"]),
                weights=tuple(weights) if rows["has_weights"] else None,
            )
        except (OSError, ValueError, KeyError, TypeError, EOFError, BadZipFile):
            return None
        with suppress(OSError):  # of a folder that may only be read
            os.utime(path)
        return result

    def put(self, done: Trial, result: TrialResult) -> None:
        """Files the result, at once whole or not at all.

        Raises:
            InputError: If the folder cannot be written to.
        """
        rows = {
            "row": asdict(result.row),
            "curve": [asdict(row) for row in result.curve],
            "has_weights": result.weights is not None,
        }
        weights = {f"weight_{i:04}": array for i, array in enumerate(result.weights or ())}
        try:
            with replacing(self._path(done)) as temporary:
                text = np.frombuffer(json.dumps(rows).encode(), np.uint8)
                np.savez(temporary, allow_pickle=False, rows=text, **weights)
        except OSError as error:
            raise InputError(f"{self._folder}: cannot keep a trial ({error.strerror})") from None

    def _path(self, of: Trial) -> Path:
        key = _digest({"trial": asdict(of), **self._setting})
        return self._folder / key[:2] / f"{key}.npz"


def _digest(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def locate_store() -> Path:
    """The folder that TRIAL_STORE names, which several machines may share, or one of our own."""
    return Path(os.environ.get(STORE_VARIABLE) or STORE_FOLDER)


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
            path.unlink()
        n_bytes -= stat.st_size


def digest_examples(*splits: Examples) -> str:
    """SHA-256 of the arrays, their shapes included."""
    digest = hashlib.sha256()
    for split in splits:
        for array in (split.images, split.labels):
            digest.update(str(array.shape).encode())
            digest.update(array.tobytes())
    return digest.hexdigest()
