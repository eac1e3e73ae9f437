"""The compiled loop against keras.Model.fit on the same minibatches."""

from collections.abc import Callable
from typing import Any, Literal

import keras
import numpy as np
import pytest
from sklearn.metrics import r2_score

from stages.common.data import Examples
from stages.common.optimizer_params import Optimizer
from stages.engine import loop, models
from stages.engine.loop import Scores, Slot, resolve_jit_compile
from stages.engine.models import initialise
from stages.engine.optimizers import build_optimizer
from tests import regression
from tests.conftest import mainly, thorough
from tests.examples import (
    DATASET,
    TRAIN,
    bits,
    draw_examples,
    small_network,
    small_slot,
    train_epochs,
    unnamed_network,
)
from tests.parameters import COMMITTED, optimizer
from tests.regression import draw_numbers, numbers_network, numbers_slot

BATCH_SIZE = 16
ORDER = np.random.default_rng(5).permutation(DATASET.n_train).astype(np.int32)
VARIANTS = {
    "ema": optimizer(class_name="SGD", use_ema=True, ema_momentum=0.8),
    "ema_overwritten": optimizer(class_name="SGD", use_ema=True, ema_overwrite_frequency=3),
    "accumulation": optimizer(class_name="SGD", momentum=0.9, gradient_accumulation_steps=3),
    "loss_scale": optimizer(class_name="SGD", loss_scale_factor=64.0),
    "clipnorm": optimizer(class_name="SGD", clipnorm=0.1),
    "weight_decay": optimizer(class_name="SGD", weight_decay=0.1),
    "schedule": optimizer(
        class_name="SGD",
        learning_rate={
            "class_name": "CosineDecay",
            "initial_learning_rate": 0.1,
            "decay_steps": 8,
        },
    ),
}


def new_slot(
    entry: Optimizer,
    validation: Examples | None = None,
    *,
    jit_compile: bool,
    batch_size: int = BATCH_SIZE,
    **model: Any,
) -> Slot:
    train = {"jit_compile": jit_compile, "batch_size": batch_size}
    slot = small_slot(entry, validation, train=train, model=model)
    slot.reset(1, 1.0)
    return slot


def validate(slot: Slot) -> Scores:
    """Validation scores of the initial weights, which a learning rate of 0 does not change."""
    slot.reset(1, 0.0)
    (epoch,) = slot.train(ORDER[np.newaxis])
    slot.reset(1, 1.0)
    return epoch.validation


def new_reference(entry: Optimizer, **model: Any) -> keras.Model:
    """The same network and initial weights for Keras's own loop."""
    network = small_network(**model)
    initialise(network, 1)
    network.model.compile(
        build_optimizer("it", entry),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
        jit_compile=False,
    )
    return network.model


def assert_trains_as_keras_fit_does(entry: Optimizer, *, jit_compile: bool, **model: Any) -> Slot:
    slot = new_slot(entry, jit_compile=jit_compile, **model)
    reference = new_reference(entry, **model)
    scores = train_epochs(slot, ORDER, 2)
    slot.finish()
    inputs, targets = TRAIN.inputs[ORDER], TRAIN.targets[ORDER]
    fit = reference.fit(
        inputs, targets, batch_size=BATCH_SIZE, epochs=2, shuffle=False, verbose=0
    ).history
    for ours, theirs in zip(slot.model.get_weights(), reference.get_weights(), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-5)
    assert [score.loss for score in scores] == pytest.approx(fit["loss"], abs=1e-5)
    assert [score.score for score in scores] == pytest.approx(fit["accuracy"], abs=1e-5)
    return slot


@pytest.mark.parametrize("name", mainly(["sgd", "adam"], COMMITTED.optimizers))
def test_a_committed_optimizer_trains_as_keras_fit_does(name: str) -> None:
    assert_trains_as_keras_fit_does(COMMITTED.optimizers[name], jit_compile=True)


@pytest.mark.parametrize("variant", mainly(["accumulation", "clipnorm"], VARIANTS))
def test_an_option_of_keras_acts_as_in_keras_fit(variant: str) -> None:
    assert_trains_as_keras_fit_does(VARIANTS[variant], jit_compile=False)


@pytest.mark.thorough
def test_muon_trains_as_keras_fit_does() -> None:
    # Without a layer that is left out by its role, of which Model.fit knows nothing.
    entry = optimizer(class_name="Muon", learning_rate=0.01, exclude_layers=[])
    assert_trains_as_keras_fit_does(entry, jit_compile=True)


@pytest.mark.parametrize("jit_compile", [False, *thorough(True)])
def test_batch_normalisation_keeps_the_statistics_that_keras_fit_keeps(
    monkeypatch: pytest.MonkeyPatch, *, jit_compile: bool
) -> None:
    monkeypatch.setitem(models.MODELS, "unnamed", unnamed_network)
    entry = optimizer(class_name="SGD", momentum=0.9)
    slot = assert_trains_as_keras_fit_does(entry, jit_compile=jit_compile, name="unnamed")
    statistics = [w.numpy() for w in slot.model.weights if w.name.startswith("moving_")]
    assert len(statistics) == 4
    assert not np.isin(statistics, (0, 1)).any()  # what they begin with


def test_dropout_draws_what_it_draws_in_keras_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(models.MODELS, "unnamed", unnamed_network)
    entry = optimizer(class_name="SGD")
    assert_trains_as_keras_fit_does(entry, jit_compile=False, name="unnamed", dropout=0.5)


def test_what_a_layer_adds_to_the_loss_is_trained_as_in_keras_fit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def decayed(pixels: keras.KerasTensor, _: Any) -> keras.KerasTensor:
        flat = keras.layers.Flatten()(pixels)
        return keras.layers.Dense(8, kernel_regularizer=keras.regularizers.L2(0.1))(flat)

    monkeypatch.setitem(models.MODELS, "decayed", decayed)
    slot = new_slot(optimizer(class_name="SGD"), jit_compile=False, name="decayed")
    reference = new_reference(optimizer(class_name="SGD"), name="decayed")
    train_epochs(slot, ORDER, 1)
    inputs, targets = TRAIN.inputs[ORDER], TRAIN.targets[ORDER]
    reference.fit(inputs, targets, batch_size=BATCH_SIZE, shuffle=False, verbose=0)
    for ours, theirs in zip(slot.model.get_weights(), reference.get_weights(), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-5)


@pytest.mark.parametrize("jit_compile", [True, False])
def test_validation_scores_are_those_of_keras_evaluate(*, jit_compile: bool) -> None:
    many = draw_examples(1100, 4)  # more than go through the network at once
    entry = optimizer(class_name="SGD")
    loss, accuracy = new_reference(entry).evaluate(many.inputs, many.targets, verbose=0)
    scores = validate(new_slot(entry, many, jit_compile=jit_compile))
    assert (scores.loss, scores.score) == pytest.approx((loss, accuracy), abs=1e-5)


@pytest.mark.parametrize(
    ("model", "setting", "devices", "expected"),
    [
        ("mlp", "auto", ["CPU"], True),
        ("cnn", "auto", ["CPU"], False),
        ("cnn", "auto", ["CPU", "GPU"], True),
        ("mlp", False, ["CPU", "GPU"], False),
        ("cnn", True, ["CPU"], True),
    ],
)
def test_model_and_device_decide_on_xla_unless_told(
    model: str, setting: Literal["auto"] | bool, devices: list[str], expected: bool
) -> None:
    assert resolve_jit_compile(small_network(name=model), setting, devices) is expected


def test_dropout_is_not_for_xla_on_a_cpu() -> None:
    assert resolve_jit_compile(small_network(dropout=0.5), "auto", ["CPU"]) is False


@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        (lambda: keras.layers.Conv2D(2, 3), False),
        (lambda: keras.layers.Dropout(0.5), False),
        (lambda: keras.layers.Dense(2), True),
    ],
    ids=["convolution", "dropout", "dense"],
)
def test_a_layer_within_another_decides_on_xla_too(
    monkeypatch: pytest.MonkeyPatch, layer: Callable[[], keras.Layer], expected: bool
) -> None:
    def nested(pixels: keras.KerasTensor, _: Any) -> keras.KerasTensor:
        inner = keras.Sequential([keras.Sequential([layer()])])
        return keras.layers.Flatten()(inner(pixels))

    monkeypatch.setitem(models.MODELS, "nested", nested)
    assert resolve_jit_compile(small_network(name="nested"), "auto", ["CPU"]) is expected


@pytest.mark.parametrize(("n_more", "jit_compile"), [(1, True), *thorough((0, False), (1, False))])
def test_a_minibatch_may_hold_all_examples_and_more(n_more: int, *, jit_compile: bool) -> None:
    entry = optimizer(class_name="SGD")
    slot = new_slot(entry, jit_compile=jit_compile, batch_size=DATASET.n_train + n_more)
    reference = new_reference(entry)
    before = reference.evaluate(TRAIN.inputs, TRAIN.targets, verbose=0)
    (scores,) = train_epochs(slot, ORDER, 1)
    assert (scores.loss, scores.score) == pytest.approx(tuple(before), abs=1e-5)
    assert slot.n_steps_per_epoch == 1


def scaled(examples: Examples) -> np.ndarray:
    """The targets as the network gives them."""
    scaling = regression.DATASET.scaling
    targets: np.ndarray = (examples.targets - scaling.target_offset) / scaling.target_scale
    return targets.astype(np.float32)


def new_numbers_slot(validation: Examples = regression.VALIDATION, **sections: Any) -> Slot:
    sections["train"] = {"batch_size": BATCH_SIZE, **sections.get("train", {})}
    slot = numbers_slot(optimizer(class_name="SGD", momentum=0.9), validation, **sections)
    slot.reset(1, 1.0)
    return slot


def new_numbers_reference(loss: str) -> keras.Model:
    network = numbers_network()
    initialise(network, 1)
    entry = optimizer(class_name="SGD", momentum=0.9)
    network.model.compile(build_optimizer("it", entry), loss, jit_compile=False)
    return network.model


@pytest.mark.parametrize("jit_compile", [True, False])
@pytest.mark.parametrize("loss", ["auto", *thorough("huber", "mean_absolute_error")])
def test_a_regression_trains_as_keras_fit_does_on_scaled_targets(
    loss: str, *, jit_compile: bool
) -> None:
    slot = new_numbers_slot(train={"jit_compile": jit_compile}, task={"loss": loss})
    reference = new_numbers_reference("mean_squared_error" if loss == "auto" else loss)
    train = regression.TRAIN
    scores = train_epochs(slot, ORDER, 2)
    history = reference.fit(
        train.inputs[ORDER],
        scaled(train)[ORDER],
        batch_size=BATCH_SIZE,
        epochs=2,
        shuffle=False,
        verbose=0,
    ).history
    assert [score.loss for score in scores] == pytest.approx(history["loss"], abs=1e-5)
    for ours, theirs in zip(slot.model.get_weights(), reference.get_weights(), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-5)


def test_the_score_of_a_regression_is_the_r2_of_scikit_learn() -> None:
    many = draw_numbers(1100, 4)  # more than go through the network at once
    slot = new_numbers_slot(many, train={"batch_size": len(ORDER)})
    reference, scaling = new_numbers_reference("mean_squared_error"), regression.DATASET.scaling

    def r2(examples: Examples) -> float:
        outputs = reference.predict(examples.inputs, verbose=0)
        units = outputs * scaling.target_scale + scaling.target_offset
        return float(r2_score(examples.targets, units))

    validation = validate(slot)
    assert validation.score == pytest.approx(r2(many), abs=1e-5)
    losses = np.square(reference.predict(many.inputs, verbose=0) - scaled(many))
    assert validation.loss == pytest.approx(losses.mean(), abs=1e-5)
    # In one minibatch, so that every example is scored before the update.
    (training,) = train_epochs(slot, ORDER, 1)
    assert training.score == pytest.approx(r2(regression.TRAIN), abs=1e-5)


@pytest.mark.parametrize(
    "entry",
    [
        {"class_name": "SGD", "momentum": 0.9, "nesterov": True},
        *thorough(
            {"class_name": "Adam", "amsgrad": True},
            {"class_name": "optimizers/ademamix.py:AdEMAMix"},
        ),
    ],
)
def test_a_barrier_behind_an_optimizers_state_changes_no_bit(
    entry: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def trained() -> Any:
        slot = small_slot(optimizer(**entry, learning_rate=0.01), train={"jit_compile": True})
        slot.reset(1, 1.0)
        train_epochs(slot, np.arange(slot.n_train), 3)
        return slot.model.get_weights()

    with_barrier = trained()
    assigned: list[bool] = []
    monkeypatch.setattr(loop, "_compute_state_once", lambda _: assigned.append(True))
    without = trained()
    assert assigned == [True]
    assert bits(with_barrier) == bits(without)
