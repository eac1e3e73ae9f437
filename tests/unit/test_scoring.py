"""Scores on the test examples against Keras's and scikit-learn's own."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from sklearn.metrics import mean_absolute_error, r2_score

from stages.common.confirmation import Predictions
from stages.common.data import Dataset, Examples, Scaling
from stages.common.params import Params, Task
from stages.confirm import scoring
from stages.confirm.network import CHUNK, NetworkScorer
from stages.confirm.scoring import StoredScorer, gather, identify
from stages.engine.models import Network, initialise
from tests import regression
from tests.examples import DATASET, TASK, draw_examples, small_network
from tests.parameters import optimizer, small_params
from tests.regression import draw_numbers, numbers_network

TEST = draw_examples(CHUNK + 100, 4)  # more than go through the network at once
NUMBERS = draw_numbers(CHUNK + 100, 4)


def initial_weights(network: Network, seed: int) -> list[np.ndarray]:
    initialise(network, seed)
    weights: list[np.ndarray] = network.model.get_weights()
    return weights


def task(**changes: Any) -> Task:
    auto = {"name": "regression", "loss": "auto", "score": "auto", "direction": "auto"}
    return Task.model_validate(auto | changes)


def test_a_trial_is_scored_as_keras_evaluate_scores_its_network() -> None:
    network = small_network(dropout=0.5)
    model = network.model
    trained = [initial_weights(network, seed) for seed in (1, 2)]
    # One model for all of them, whatever it scored before.
    scorer = NetworkScorer(model, TASK, DATASET.scaling, TEST, jit_compile=True)
    scores = [scorer.score(weights) for weights in trained]

    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(loss=loss, metrics=["accuracy"], jit_compile=False)
    for score, arrays in zip(scores, trained, strict=True):
        model.set_weights(arrays)
        expected = model.evaluate(TEST.inputs, TEST.targets, verbose=0)
        assert [score.loss, score.score] == pytest.approx(expected, abs=1e-5)
        logits = model(TEST.inputs, training=False).numpy()
        assert score.predictions.tolist() == logits.argmax(axis=1).tolist()
        assert score.predictions.dtype == np.uint8
        assert score.scores.tolist() == (score.predictions == TEST.targets).tolist()


def test_logits_that_are_large_have_a_finite_loss() -> None:
    network = small_network()
    weights = [1e4 * array for array in initial_weights(network, 1)]
    score = NetworkScorer(network.model, TASK, DATASET.scaling, TEST, jit_compile=True).score(
        weights
    )
    assert np.isfinite(score.loss)


@pytest.mark.parametrize(("n_classes", "dtype"), [(256, np.uint8), (257, np.uint16)])
def test_predictions_take_no_more_room_than_the_classes_need(n_classes: int, dtype: Any) -> None:
    inputs = keras.layers.Input((1,))
    model = keras.Model(inputs, keras.layers.Dense(n_classes)(inputs))
    test = Examples(np.ones((3, 1), np.float32), np.array([0, 1, 0], np.int32))
    weights: list[Any] = [np.zeros((1, n_classes)), np.arange(n_classes)]
    score = NetworkScorer(model, TASK, Scaling((), (), (), ()), test, jit_compile=True).score(
        weights
    )
    assert score.predictions.tolist() == [n_classes - 1] * 3
    assert score.predictions.dtype == dtype


def predicted(network: Network, weights: list[np.ndarray]) -> np.ndarray:
    """By Keras, in the units of the targets."""
    network.model.set_weights(weights)
    scaling = regression.DATASET.scaling
    outputs = network.model.predict(NUMBERS.inputs, verbose=0).astype(np.float64)
    units: np.ndarray = outputs * scaling.target_scale + scaling.target_offset
    return units


def test_a_regression_is_scored_in_the_units_of_its_targets() -> None:
    network, scaling = numbers_network(), regression.DATASET.scaling
    scorer = NetworkScorer(network.model, task(), scaling, NUMBERS, jit_compile=True)
    for seed in (1, 2):
        weights = initial_weights(network, seed)
        score, expected = scorer.score(weights), predicted(network, weights)
        assert score.score == pytest.approx(r2_score(NUMBERS.targets, expected), rel=1e-5)
        errors = (expected - NUMBERS.targets) / scaling.target_scale
        assert score.loss == pytest.approx(np.mean(errors**2), rel=1e-5)
        np.testing.assert_allclose(score.predictions, expected, rtol=1e-5)
        assert (score.predictions.shape, score.predictions.dtype) == (
            (1100, 2),
            np.dtype("float32"),
        )
        assert (score.scores.shape, score.scores.dtype) == ((1100,), np.dtype("float64"))
        assert score.scores.mean() == pytest.approx(score.score)


def test_a_metric_of_keras_is_one_of_the_units_of_the_targets_too() -> None:
    network = numbers_network()
    asked = task(score="mean_absolute_error", loss="huber")
    weights = initial_weights(network, 1)
    score = NetworkScorer(
        network.model, asked, regression.DATASET.scaling, NUMBERS, jit_compile=True
    ).score(weights)
    expected = predicted(network, weights)
    assert score.score == pytest.approx(mean_absolute_error(NUMBERS.targets, expected), rel=1e-5)


class CountingScorer:
    """Gives scores that tell the weights, and notes how many it computed."""

    def __init__(self) -> None:
        self.n_scored = 0

    def score(self, weights: Any) -> scoring.TestScore:
        self.n_scored += 1
        first = float(weights[0][0])
        return scoring.TestScore(np.array([1, 2], np.uint8), np.array([first, 0.1]), first, 1 / 3)


def test_a_score_is_computed_once_for_the_same_weights_and_key(tmp_path: Path) -> None:
    counting = CountingScorer()
    built: list[int] = []

    def build() -> CountingScorer:
        built.append(1)
        return counting

    ones, twos = [np.ones(3, np.float32)], [np.full(3, 2, np.float32)]
    first = StoredScorer(tmp_path, "key", build)
    expected = [first.score(weights) for weights in (ones, twos)]
    assert (len(built), counting.n_scored) == (1, 2)

    again = StoredScorer(tmp_path, "key", build)
    for weights, was in zip((ones, twos), expected, strict=True):
        found = again.score(weights)
        assert (found.score, found.loss) == (was.score, was.loss)
        assert (str(found.predictions.dtype), found.predictions.tolist()) == ("uint8", [1, 2])
        assert found.scores.tolist() == was.scores.tolist()
    assert (len(built), counting.n_scored) == (1, 2)

    StoredScorer(tmp_path, "another", build).score(ones)
    assert counting.n_scored == 3
    StoredScorer(tmp_path, None, build).score(ones)
    assert counting.n_scored == 4
    for path in tmp_path.rglob("*.npz"):
        path.write_bytes(path.read_bytes()[:-1] + b"!")
    assert StoredScorer(tmp_path, "key", build).score(twos).score == 2
    assert counting.n_scored == 5


def test_scores_swapped_between_two_files_are_computed_again(tmp_path: Path) -> None:
    counting = CountingScorer()
    ones, twos = [np.ones(3, np.float32)], [np.full(3, 2, np.float32)]
    scorer = StoredScorer(tmp_path, "key", lambda: counting)
    for weights in (ones, twos):
        scorer.score(weights)
    first, second = tmp_path.rglob("*.npz")
    content = first.read_bytes()
    first.write_bytes(second.read_bytes())
    second.write_bytes(content)
    assert [scorer.score(weights).score for weights in (ones, twos)] == [1, 2]
    assert counting.n_scored == 4


def test_whatever_scores_depend_on_is_in_the_key() -> None:
    params = small_params({"it": optimizer(class_name="SGD")})

    def key_of(params: Params, dataset: Dataset = DATASET, jit_compile: bool = True) -> str:
        key = identify(params, dataset, TEST, jit_compile=jit_compile)
        assert key is not None
        return key

    keys = {
        key_of(params),
        key_of(small_params({"it": optimizer(class_name="SGD")}, model={"hidden_units": [3]})),
        key_of(small_params({"it": optimizer(class_name="SGD")}, task={"loss": "kl_divergence"})),
        key_of(params, replace(DATASET, n_outputs=9)),
        key_of(params, jit_compile=False),
    }
    assert len(keys) == 5
    assert key_of(params) == key_of(small_params({"other": optimizer(class_name="Adam")}))


def scored(*values: float) -> scoring.TestScore:
    found = np.array(values)
    return scoring.TestScore(
        found.astype(np.float32)[:, np.newaxis], found, float(found.mean()), 0.0
    )


def test_what_is_handed_on_are_all_predictions_and_each_example_s_mean_score() -> None:
    found = gather([[scored(1, 2, 3), scored(5, 4, 3)], []], n_test=3)
    assert isinstance(found, Predictions)
    first, none = found.values
    assert first.tolist() == [[[1], [2], [3]], [[5], [4], [3]]]
    assert none.shape == (0, 3)
    assert [scores.tolist() for scores in found.scores] == [[3, 3, 3], []]
