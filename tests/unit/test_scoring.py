"""Scores on the test images against Keras's own."""

import keras
import numpy as np
import pytest

from stages.confirm.scoring import CHUNK, score_weights
from stages.engine.models import Network, initialise
from tests.examples import draw_examples, small_network

TEST = draw_examples(CHUNK + 100, 4)  # more than go through the network at once


def initial_weights(network: Network, seed: int) -> list[np.ndarray]:
    initialise(network, seed)
    weights: list[np.ndarray] = network.model.get_weights()
    return weights


def test_a_trial_is_scored_as_keras_evaluate_scores_its_network() -> None:
    network = small_network(dropout=0.5)
    model = network.model
    trained = [initial_weights(network, seed) for seed in (1, 2)]
    # One model for all of them, whatever it scored before.
    scores = [score_weights(model, weights, TEST) for weights in trained]

    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(loss=loss, metrics=["accuracy"], jit_compile=False)
    for score, arrays in zip(scores, trained, strict=True):
        model.set_weights(arrays)
        expected = model.evaluate(TEST.images, TEST.labels, verbose=0)
        assert [score.loss, score.accuracy] == pytest.approx(expected, abs=1e-5)
        logits = model(TEST.images, training=False).numpy()
        assert score.predictions.tolist() == logits.argmax(axis=1).tolist()
        assert score.predictions.dtype == np.uint8


def test_logits_that_are_large_have_a_finite_loss() -> None:
    network = small_network()
    weights = [1e4 * array for array in initial_weights(network, 1)]
    score = score_weights(network.model, weights, TEST)
    assert np.isfinite(score.loss)
