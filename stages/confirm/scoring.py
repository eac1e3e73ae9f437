"""Scores of trained networks on the test images."""

from collections.abc import Sequence
from dataclasses import dataclass

import keras
import numpy as np
from scipy.special import log_softmax

from stages.common.data import Examples
from stages.common.files import FloatArray, UInt8Array

CHUNK = 1000


@dataclass(frozen=True)
class TestScore:
    """One network on the test images: the classes it predicts `(n,)`, accuracy, loss in nats."""

    predictions: UInt8Array
    accuracy: float
    loss: float


def score_weights(model: keras.Model, weights: Sequence[FloatArray], test: Examples) -> TestScore:
    """Scores a trial's final weights.

    Args:
        model: A network that gives logits.
        weights: In the order of `model.weights`.
        test: The test images, which nothing has been chosen by.
    """
    model.set_weights(weights)
    chunks = range(0, len(test.images), CHUNK)
    logits = np.concatenate(
        [model(test.images[start : start + CHUNK], training=False) for start in chunks]
    )
    predictions = logits.argmax(axis=1).astype(np.uint8)
    log_probabilities = log_softmax(logits.astype(np.float64), axis=1)
    own = np.take_along_axis(log_probabilities, test.labels[:, np.newaxis].astype(int), axis=1)
    return TestScore(
        predictions=predictions,
        accuracy=float(np.mean(predictions == test.labels)),
        loss=float(-own.mean()),
    )
