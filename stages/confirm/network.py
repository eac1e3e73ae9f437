"""Scores a trained network on the test examples."""

from collections.abc import Sequence
from functools import partial

import keras
import numpy as np
import tensorflow as tf

from stages.common.data import Examples, Scaling
from stages.common.files import Array, FloatArray
from stages.common.params import Task
from stages.confirm.scoring import TestScore
from stages.engine.objective import build_objective

CHUNK = 1000


class NetworkScorer:
    """Scores trials by putting their weights into one network, one trial after the other.

    Args:
        model: Outputs logits or scaled values.
        task: What is learned, and what it is judged by.
        scaling: How the targets are scaled.
        test: The test examples, which no setting was chosen by.
        jit_compile: Whether XLA compiles the network, as it did for training.
    """

    def __init__(
        self,
        model: keras.Model,
        task: Task,
        scaling: Scaling,
        test: Examples,
        *,
        jit_compile: bool,
    ) -> None:
        self._model, self._scaling, self._test = model, scaling, test
        self._outputs = tf.function(partial(model, training=False), jit_compile=jit_compile)
        self._objective = build_objective(task, scaling, test.targets)

    def score(self, weights: Sequence[FloatArray]) -> TestScore:
        """Scores a trial's final weights, which are in the order of `model.weights`."""
        self._model.set_weights(weights)
        inputs, targets = self._test.inputs, self._test.targets
        chunks = range(0, len(inputs), CHUNK)
        outputs = np.concatenate(
            [self._outputs(tf.constant(inputs[start : start + CHUNK])) for start in chunks]
        ).astype(np.float64)
        if targets.ndim > 1:
            targets = targets.astype(np.float64)
        given = tf.constant(targets), tf.constant(outputs)
        scores = np.asarray(self._objective.scores(*given), np.float64)
        return TestScore(
            predictions=self._predict(outputs),
            scores=scores,
            score=float(scores.mean()),
            loss=float(np.mean(self._objective.losses(*given))),
        )

    def _predict(self, outputs: FloatArray) -> Array:
        if self._scaling.target_scale:
            units = outputs * self._scaling.target_scale + self._scaling.target_offset
            return units.astype(np.float32)
        classes: Array = outputs.argmax(axis=1)
        return classes.astype(np.min_scalar_type(outputs.shape[1] - 1))
