"""Losses and scores by Keras's names, against Keras's own means."""

import inspect
from contextlib import suppress
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy.special import softmax
from sklearn.metrics import r2_score

from stages.common.data import Scaling
from stages.common.errors import InputError
from stages.common.params import Task
from stages.common.score import score_of
from stages.engine.objective import Objective, build_objective, check_objective

GENERATOR = np.random.default_rng(0)
LOGITS = GENERATOR.normal(0, 2, (50, 7)).astype(np.float32)
CLASSES = GENERATOR.integers(0, 7, 50).astype(np.int32)
VALUES = GENERATOR.normal([100, -5], [30, 0.1], (50, 2)).astype(np.float32)
OUTPUTS = GENERATOR.normal(0, 1, (50, 2)).astype(np.float32)
SCALING = Scaling((), (), (30.0, 0.1), (100.0, -5.0))
NONE = Scaling((), (), (), ())


def task(name: str = "classification", **changes: Any) -> Task:
    auto = {"name": name, "loss": "auto", "score": "auto", "direction": "auto"}
    return Task.model_validate(auto | changes)


def of_classes(**changes: Any) -> Objective:
    return build_objective(task(**changes), NONE, CLASSES)


def of_numbers(**changes: Any) -> Objective:
    return build_objective(task("regression", **changes), SCALING, VALUES)


def one_hot() -> np.ndarray:
    return np.eye(7, dtype=np.float32)[CLASSES]


def mean(function: Any, targets: np.ndarray, outputs: np.ndarray) -> float:
    """Of what the function gives for each example."""
    found = function(tf.constant(targets), tf.constant(outputs))
    assert found.shape == (50,)
    return float(tf.reduce_mean(found))


def test_the_loss_of_classes_is_the_cross_entropy_of_logits() -> None:
    expected = keras.losses.SparseCategoricalCrossentropy(from_logits=True)(CLASSES, LOGITS)
    for name in ("auto", "sparse_categorical_crossentropy"):
        found = mean(of_classes(loss=name).losses, CLASSES, LOGITS)
        assert found == pytest.approx(float(expected), rel=1e-6)


@pytest.mark.parametrize(
    ("name", "loss"),
    [
        ("categorical_crossentropy", keras.losses.CategoricalCrossentropy(from_logits=True)),
        (
            "categorical_focal_crossentropy",
            keras.losses.CategoricalFocalCrossentropy(from_logits=True),
        ),
        ("CategoricalHinge", keras.losses.CategoricalHinge()),
        ("kl_divergence", keras.losses.KLDivergence()),
    ],
)
def test_a_loss_of_classes_is_the_one_that_keras_has_under_that_name(name: str, loss: Any) -> None:
    has_logits = "crossentropy" in name
    given = LOGITS if has_logits else softmax(LOGITS, axis=1)
    found = mean(of_classes(loss=name).losses, CLASSES, LOGITS)
    assert found == pytest.approx(float(loss(one_hot(), given)), rel=1e-5)


def test_the_accuracy_is_the_share_of_the_largest_logits_that_are_right() -> None:
    objective = of_classes()
    found = objective.scores(tf.constant(CLASSES), tf.constant(LOGITS)).numpy()
    assert found.tolist() == (LOGITS.argmax(axis=1) == CLASSES).tolist()


@pytest.mark.parametrize(
    ("name", "metric"),
    [
        (
            "sparse_top_k_categorical_accuracy",
            keras.metrics.SparseTopKCategoricalAccuracy(k=5),
        ),
        ("sparse_categorical_accuracy", keras.metrics.SparseCategoricalAccuracy()),
        ("categorical_accuracy", keras.metrics.CategoricalAccuracy()),
        (
            "sparse_categorical_crossentropy",
            keras.metrics.SparseCategoricalCrossentropy(from_logits=True),
        ),
    ],
)
def test_a_score_of_classes_is_the_one_that_keras_has_under_that_name(
    name: str, metric: Any
) -> None:
    metric.update_state(CLASSES if name.startswith("sparse") else one_hot(), LOGITS)
    found = mean(of_classes(score=name).scores, CLASSES, LOGITS)
    assert found == pytest.approx(float(metric.result()), rel=1e-5)


@pytest.mark.parametrize(
    ("name", "loss"),
    [
        ("auto", keras.losses.MeanSquaredError()),
        ("mean_absolute_error", keras.losses.MeanAbsoluteError()),
        ("mae", keras.losses.MeanAbsoluteError()),
        ("huber", keras.losses.Huber()),
        ("Huber", keras.losses.Huber()),
        ("log_cosh", keras.losses.LogCosh()),
    ],
)
def test_a_loss_of_numbers_is_keras_s_on_scaled_targets(name: str, loss: Any) -> None:
    scaled = (VALUES - SCALING.target_offset) / SCALING.target_scale
    found = mean(of_numbers(loss=name).losses, VALUES, OUTPUTS)
    assert found == pytest.approx(float(loss(scaled, OUTPUTS)), rel=1e-4)


@pytest.mark.parametrize(
    ("name", "metric"),
    [
        ("mean_absolute_error", keras.metrics.MeanAbsoluteError()),
        ("mean_squared_error", keras.metrics.MeanSquaredError()),
        ("MeanAbsolutePercentageError", keras.metrics.MeanAbsolutePercentageError()),
    ],
)
def test_a_score_of_numbers_is_keras_s_in_the_units_of_the_targets(name: str, metric: Any) -> None:
    metric.update_state(VALUES, OUTPUTS * SCALING.target_scale + SCALING.target_offset)
    found = mean(of_numbers(score=name).scores, VALUES, OUTPUTS)
    assert found == pytest.approx(float(metric.result()), rel=1e-4)


def test_r2_is_scikit_learn_s_mean_over_the_outputs() -> None:
    units = OUTPUTS * SCALING.target_scale + SCALING.target_offset
    expected = r2_score(VALUES, units)
    assert expected < 0
    assert mean(of_numbers().scores, VALUES, OUTPUTS) == pytest.approx(expected, rel=1e-4)


def test_saying_the_mean_has_an_r2_of_0_and_the_truth_one_of_1() -> None:
    scaled = (VALUES - SCALING.target_offset) / SCALING.target_scale
    truth = scaled.astype(np.float32)
    guesses = np.broadcast_to(truth.mean(axis=0), truth.shape)
    assert mean(of_numbers().scores, VALUES, guesses) == pytest.approx(0, abs=1e-4)
    assert mean(of_numbers().scores, VALUES, truth) == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize(
    ("asked", "n_outputs"),
    [
        (task(), 2),
        (task(), 300),
        (task("regression"), 1),
        (task("regression"), 3),
        (task(loss="categorical_focal_crossentropy"), 4),
        (task(score="sparse_top_k_categorical_accuracy"), 10),
        (task("regression", loss="huber", score="mean_absolute_error"), 2),
    ],
)
def test_what_fits_the_task_is_accepted(asked: Task, n_outputs: int) -> None:
    check_objective(asked, n_outputs)


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        (
            task(loss="cross"),
            r"^params\.yaml: task\.loss: Keras has no 'cross'(; did you mean .*)?$",
        ),
        (
            task(score="acuracy"),
            r"^params\.yaml: task\.score: Keras has no 'acuracy'; did you mean accuracy",
        ),
        (task("regression", loss="mse2"), r"task\.loss: Keras has no 'mse2'"),
        (task("regression", score="rmse2"), r"task\.score: Keras has no 'rmse2'"),
        (
            task("regression", score="RootMeanSquaredError"),
            r"task\.score: .* not an average over examples",
        ),
        (task(score="AUC"), r"task\.score: .* not an average over examples"),
        (
            task("regression", loss="sparse_categorical_crossentropy"),
            r"task\.loss: .* does not fit a regression with 3 outputs",
        ),
        (
            task("regression", score="sparse_categorical_accuracy"),
            r"task\.score: .* does not fit a regression with 3 outputs",
        ),
    ],
)
def test_what_does_not_fit_the_task_is_told_before_anything_is_trained(
    asked: Task, told: str
) -> None:
    with pytest.raises(InputError, match=told) as caught:
        check_objective(asked, 3)
    assert "\n" not in str(caught.value)


def test_a_part_whose_values_are_all_the_same_has_no_r2() -> None:
    scaling = Scaling((), (), (1.0,), (0.0,))
    with pytest.raises(InputError, match=r"task\.score: R² needs values that differ, and the 3 ex"):
        build_objective(task(name="regression"), scaling, np.ones((3, 1), np.float32))


def test_keras_and_this_program_agree_on_which_metrics_should_be_high() -> None:
    signs = {"up": 1, "down": -1}
    for name, metric in inspect.getmembers(keras.metrics, inspect.isclass):
        if issubclass(metric, keras.metrics.MeanMetricWrapper):
            with suppress(TypeError):  # the base class, which wants a function
                instance: Any = metric()
                direction = instance._direction
                assert score_of(task(score=name)).sign == signs.get(direction, -1), name
