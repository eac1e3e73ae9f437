"""What `train` makes of an optimizer's trials, and how it is made again without TensorFlow.

Everything that the stage writes follows from trials, which are in the store, and from two things
that TensorFlow has to say: the description of the run and the saved network. Those are kept there
as well, so that a stage whose trials are all finished need not import it.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from stages.common.data import DATASET, Dataset
from stages.common.files import Arrays, Json, UInt8Array
from stages.common.imports import imported_files
from stages.common.params import Params
from stages.common.runs import Completed, EpochRow, Failed, Run, TrialRow, Weights
from stages.engine.environment import describe_machine, digest_own, digest_source
from stages.engine.store import TrialStore, path_in_store, read_from_store, write_to_store
from stages.engine.trial import Trial, TrialResult

# A trial, and the key of its work.
KeyedTrial = tuple[str, Trial]


@dataclass(frozen=True)
class Trained:
    """What the stage writes, and the trials that it is made of.

    `model` is the saved network, with the weights of the confirmation trial at the tuned rate that
    has the best final validation score; None if none was completed.
    """

    made_of: tuple[KeyedTrial, ...]
    run: Run
    trials: tuple[TrialRow, ...]
    epochs: tuple[EpochRow, ...]
    weights: Weights
    model: bytes | None


@dataclass(frozen=True)
class _Record:
    key: str
    trials: tuple[KeyedTrial, ...]
    run: Run


@dataclass(frozen=True)
class _Stored:
    """A file of the store: the record as JSON and the saved network, in bytes."""

    record: UInt8Array
    model: UInt8Array


_RECORD = Json("record", _Record, exact=True)
_STORED = Arrays("finished.npz", _Stored)


def gather(
    run: Run, trials: Sequence[KeyedTrial], results: Sequence[TrialResult], model: bytes | None
) -> Trained:
    """Arranges the trials' results, which are in the same order, as the stage writes them."""
    confirmed = [
        result
        for result in results
        if result.row.phase == "confirmation" and isinstance(result.row, Completed)
    ]
    return Trained(
        made_of=tuple(trials),
        run=run,
        trials=tuple(result.row for result in results),
        epochs=tuple(epoch for result in results for epoch in result.curve),
        weights=Weights(
            settings=np.array([result.row.setting for result in confirmed], np.int64),
            seeds=np.array([result.row.seed for result in confirmed], np.int64),
            arrays=tuple(
                map(np.stack, zip(*(result.weights for result in confirmed), strict=True))
            ),
        ),
        model=model,
    )


def identify(name: str, params: Params, dataset: Dataset, data_digest: str) -> str | None:
    """A key of everything that the optimizer's outputs depend on.

    Returns:
        None if TensorFlow has to tell: which other devices there are, or what a cluster runs on.

    Raises:
        InputError: If a file of the user's own code is missing or cannot be parsed.
    """
    machine = describe_machine()
    if machine is None:
        return None
    decides = {
        "name": name,
        "params": params.model_dump(mode="json", include={"task", "model", "train", "tuning"}),
        "first_seed": params.confirmation.first_seed,
        "optimizer": params.optimizers[name].model_dump(mode="json"),
        "dataset": DATASET.encode(dataset).decode(),
        "data": data_digest,
        "own": digest_own(name, params),
        "source": _digest_stage(),
        "machine": machine,
    }
    return hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()


@cache
def _digest_stage() -> str:
    return digest_source(imported_files([Path(__file__).with_name("__main__.py")]))


def keep(folder: Path, key: str, trained: Trained) -> None:
    """Keeps what else the stage wrote beside its trials, unless a failed one is to be tried again.

    Raises:
        InputError: If the folder cannot be written to.
    """
    if any(isinstance(row, Failed) for row in trained.trials):
        return
    record = _RECORD.encode(_Record(key, trained.made_of, trained.run))
    stored = _Stored(np.frombuffer(record, np.uint8), np.frombuffer(trained.model or b"", np.uint8))
    write_to_store(path_in_store(folder, key, ".run"), _STORED.encode(stored))


def find(folder: Path, key: str) -> Trained | None:
    """What the stage wrote when it was run with this key; None if the store lacks any of it."""
    try:
        stored = _STORED.decode(read_from_store(path_in_store(folder, key, ".run")))
        record = _RECORD.decode(stored.record.tobytes())
    except (OSError, ValueError):
        return None
    store = TrialStore(folder)
    found = [store.get(work, trial) for work, trial in record.trials]
    results = [result for result in found if result is not None]
    if record.key != key or len(results) < len(found):
        return None
    return gather(record.run, record.trials, results, stored.model.tobytes() or None)
