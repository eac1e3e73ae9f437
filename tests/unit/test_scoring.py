"""Scores on the test images against Keras's own."""

from pathlib import Path

import keras
import numpy as np
import pytest

from stages.common.artifacts import Weights, read_weights, write_weights
from stages.evaluate.scoring import score_trials
from stages.train.models import architecture, build_model, initialise
from tests.examples import COMMITTED, DATASET, draw_examples, small_params

SEEDS = (1, 2)
TEST = draw_examples(1100, 4)  # more than go through the network at once


def initial_weights(model: keras.Model, seed: int) -> list[np.ndarray]:
    initialise(model, seed)
    return model.get_weights()


def test_a_trial_is_scored_as_keras_evaluate_scores_its_network(tmp_path: Path) -> None:
    model = build_model(small_params(COMMITTED.optimizers, model={"dropout": 0.5}).model, DATASET)
    trained = [initial_weights(model, seed) for seed in SEEDS]
    stacked = tuple(np.stack(arrays) for arrays in zip(*trained, strict=True))
    write_weights(tmp_path, Weights(np.ones(2), np.array(SEEDS), stacked))
    scores = score_trials(architecture(model), read_weights(tmp_path), TEST)

    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(loss=loss, metrics=["accuracy"], jit_compile=False)
    for score, arrays in zip(scores, trained, strict=True):
        model.set_weights(arrays)
        expected = model.evaluate(TEST.images, TEST.labels, verbose=0)
        assert [score.loss, score.accuracy] == pytest.approx(expected, abs=1e-5)
        logits = model(TEST.images, training=False).numpy()
        assert score.predictions.tolist() == logits.argmax(axis=1).tolist()
