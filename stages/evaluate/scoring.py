"""Scores of trained networks on the test images."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
from scipy.special import log_softmax

from stages.common.data import Examples
from stages.common.files import FloatArray, IntArray
from stages.common.results import Mistakes
from stages.common.runs import Weights

CHUNK = 1000
N_MISTAKES = 24


@dataclass(frozen=True)
class TrialScore:
    """One network on the test images; both arrays are `(n,)`, loss is in nats."""

    predictions: IntArray
    is_correct: npt.NDArray[np.bool_]
    accuracy: float
    loss: float


def score_trials(
    architecture: dict[str, Any], weights: Weights, test: Examples
) -> Iterator[TrialScore]:
    """Scores every trial's final weights, in their order.

    Args:
        architecture: Keras's JSON of a network that gives logits.
        weights: Of n_trials trials.
        test: The test images, which nothing has seen before.
    """
    model = keras.models.model_from_json(json.dumps(architecture))
    for arrays in zip(*weights.arrays, strict=True):
        model.set_weights(arrays)
        chunks = range(0, len(test.images), CHUNK)
        logits = [model(test.images[start : start + CHUNK], training=False) for start in chunks]
        yield _score(np.concatenate(logits), test)


def find_mistakes(scores: Sequence[TrialScore], test: Examples) -> Mistakes:
    """The test images that most trials got wrong, at most N_MISTAKES; none without a trial."""
    predictions = np.array([score.predictions for score in scores], np.int64).reshape(
        len(scores), len(test.labels)
    )
    n_wrong = np.sum(predictions != test.labels, axis=0)
    worst = np.argsort(-n_wrong, kind="stable")[:N_MISTAKES]
    worst = worst[n_wrong[worst] > 0]
    frequent = [
        np.bincount(column[column != label]).argmax()
        for column, label in zip(predictions[:, worst].T, test.labels[worst], strict=True)
    ]
    return Mistakes(
        images=test.images[worst],
        actual=test.labels[worst].astype(np.int64),
        predicted=np.array(frequent, np.int64),
        n_wrong=n_wrong[worst],
    )


def _score(logits: FloatArray, test: Examples) -> TrialScore:
    predictions = logits.argmax(axis=1)
    is_correct = predictions == test.labels
    log_probabilities = log_softmax(logits.astype(np.float64), axis=1)
    own = np.take_along_axis(log_probabilities, test.labels[:, np.newaxis].astype(int), axis=1)
    return TrialScore(
        predictions=predictions,
        is_correct=is_correct,
        accuracy=float(is_correct.mean()),
        loss=float(-own.mean()),
    )
