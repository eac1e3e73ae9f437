"""Scores of trained networks on the test examples, kept so that none is computed twice."""

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from stages.common.confirmation import Predictions
from stages.common.data import Dataset, Examples
from stages.common.files import Array, Arrays, FloatArray
from stages.common.imports import imported_files
from stages.common.own import own_files
from stages.common.params import Params
from stages.engine.environment import describe_machine, digest_source
from stages.engine.store import digest_examples, path_in_store, read_from_store, write_to_store


@dataclass(frozen=True)
class TestScore:
    """How one network does on the test examples.

    `predictions` are `(n_test,)` classes or `(n_test, n_outputs) float32` in the targets' units.
    `scores` are `(n_test,) float64`, one for each example; their mean is `score`.
    """

    predictions: Array
    scores: FloatArray
    score: float
    loss: float


class Scorer(Protocol):
    """Scores trials one after the other."""

    def score(self, weights: Sequence[FloatArray]) -> TestScore:
        """Scores a trial's final weights, which are in the order of `keras.Model.weights`."""


@dataclass(frozen=True)
class _Kept:
    """A file of the store: the score, and the key and weights that it is of, as a digest."""

    of: Array
    predictions: Array
    scores: FloatArray
    score: FloatArray
    loss: FloatArray


_KEPT = Arrays("score.npz", _Kept)


class StoredScorer:
    """Looks for scores in the store, and computes and keeps those that it lacks.

    Args:
        folder: The store's.
        key: What scores depend on besides the weights; see `identify`. None keeps no scores.
        build: Makes the scorer that computes; called only if one is needed.
    """

    def __init__(self, folder: Path, key: str | None, build: Callable[[], Scorer]) -> None:
        self._folder, self._key, self._build = folder, key, build
        self._scorer: Scorer | None = None

    def score(self, weights: Sequence[FloatArray]) -> TestScore:
        """As `Scorer.score`.

        Raises:
            InputError: If the store cannot be written to.
        """
        if self._key is None:
            return self._compute(weights)
        of = _digest(self._key, weights)
        path = path_in_store(self._folder, of, ".score")
        if (kept := _read(path, of)) is not None:
            return kept
        found = self._compute(weights)
        write_to_store(path, _KEPT.encode(_Kept(np.array(of), **vars(found))))
        return found

    def _compute(self, weights: Sequence[FloatArray]) -> TestScore:
        if self._scorer is None:
            self._scorer = self._build()
        return self._scorer.score(weights)


def _digest(key: str, weights: Sequence[FloatArray]) -> str:
    digest = hashlib.sha256(key.encode())
    for array in weights:
        digest.update(f"{array.shape} {array.dtype}".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def _read(path: Path, of: str) -> TestScore | None:
    """The score; None if the file is missing, damaged, or of other weights."""
    try:
        kept = _KEPT.decode(read_from_store(path))
    except (OSError, ValueError):
        return None
    if str(kept.of) != of:
        return None
    return TestScore(kept.predictions, kept.scores, float(kept.score), float(kept.loss))


def identify(params: Params, dataset: Dataset, test: Examples, *, jit_compile: bool) -> str | None:
    """A key of what test scores depend on besides the weights; None if TensorFlow has to tell it.

    Raises:
        InputError: If a file of the user's own network is missing or cannot be parsed.
    """
    machine = describe_machine()
    if machine is None:
        return None
    own = own_files("model.name", params.model.name)
    decides = {
        "model": params.model.model_dump(mode="json"),
        "task": params.task.model_dump(mode="json"),
        "scaling": asdict(dataset.scaling),
        "n_outputs": dataset.n_outputs,
        "test": digest_examples(test),
        "jit_compile": jit_compile,
        "own": digest_source(own) if own else "",
        "source": digest_source(imported_files([Path(__file__).with_name("network.py")])),
        "machine": machine,
    }
    return hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()


def gather(scored: Iterable[Sequence[TestScore]], n_test: int) -> Predictions:
    """Collects the predictions of all optimizers' networks, as the stage writes them."""
    values: list[Array] = []
    scores: list[FloatArray] = []
    for found in scored:
        values.append(
            np.array([one.predictions for one in found] or np.zeros((0, n_test), np.uint8))
        )
        scores.append(np.mean([one.scores for one in found], axis=0) if found else np.zeros(0))
    return Predictions(tuple(values), tuple(scores))
