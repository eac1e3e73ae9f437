"""Scores on the test images against Keras's own."""

from pathlib import Path

import keras
import numpy as np
import pytest

from stages.common.data import Examples
from stages.common.runs import WEIGHTS, Weights
from stages.engine.models import Network, architecture, initialise
from stages.evaluate.scoring import TrialScore, find_mistakes, score_trials
from tests.examples import draw_examples, small_network

SEEDS = (1, 2)
TEST = draw_examples(1100, 4)  # more than go through the network at once


def initial_weights(network: Network, seed: int) -> list[np.ndarray]:
    initialise(network, seed)
    weights: list[np.ndarray] = network.model.get_weights()
    return weights


def test_a_trial_is_scored_as_keras_evaluate_scores_its_network(tmp_path: Path) -> None:
    network = small_network(dropout=0.5)
    model = network.model
    trained = [initial_weights(network, seed) for seed in SEEDS]
    stacked = tuple(np.stack(arrays) for arrays in zip(*trained, strict=True))
    WEIGHTS.write(tmp_path, Weights(np.zeros(2, np.int64), np.array(SEEDS), stacked))
    scores = score_trials(architecture(model), WEIGHTS.read(tmp_path), TEST)

    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(loss=loss, metrics=["accuracy"], jit_compile=False)
    for score, arrays in zip(scores, trained, strict=True):
        model.set_weights(arrays)
        expected = model.evaluate(TEST.images, TEST.labels, verbose=0)
        assert [score.loss, score.accuracy] == pytest.approx(expected, abs=1e-5)
        logits = model(TEST.images, training=False).numpy()
        assert score.predictions.tolist() == logits.argmax(axis=1).tolist()


def test_mistakes_are_the_images_that_most_trials_got_wrong() -> None:
    labels = np.array([0, 1, 2, 3, 0], np.uint8)
    images = np.arange(5, dtype=np.uint8).reshape(5, 1, 1, 1)
    predictions = ([0, 2, 2, 1, 0], [0, 3, 2, 1, 1], [0, 3, 2, 3, 2])
    scores = [TrialScore(np.array(p), np.array(p) == labels, 0.0, 0.0) for p in predictions]
    found = find_mistakes(scores, Examples(images, labels))
    assert found.images.ravel().tolist() == [1, 3, 4]
    assert found.actual.tolist() == [1, 3, 0]
    assert found.predicted.tolist() == [3, 1, 1]
    assert found.n_wrong.tolist() == [3, 2, 2]


def test_without_a_completed_trial_there_are_no_mistakes() -> None:
    found = find_mistakes([], TEST)
    arrays = (found.images, found.actual, found.predicted, found.n_wrong)
    assert [len(array) for array in arrays] == [0, 0, 0, 0]
