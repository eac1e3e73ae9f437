"""Keras's optimizers and schedules by name: what is built, and what is refused with which words."""

import inspect
from types import ModuleType
from typing import Any

import keras
import numpy as np
import pytest
from keras.optimizers import schedules

from stages.common.errors import InputError
from stages.common.optimizer_params import RateSchedule
from stages.engine.optimizers import (
    build_learning_rate,
    build_optimizer,
    check_optimizers,
    leave_out_output_layer,
    peak_learning_rate,
    relative_rates,
)
from tests.examples import small_network
from tests.parameters import COMMITTED, optimizer

REFUSED = {
    "LossScaleOptimizer": "loss_scale_factor",
    "MultiOptimizer": "combines others",
    "Optimizer": "base class",
}
SCHEDULE_ARGUMENTS = {
    "boundaries": [5],
    "values": [0.1, 0.01],
    "initial_learning_rate": 0.1,
    "decay_steps": 10,
    "first_decay_steps": 10,
    "decay_rate": 0.5,
}


def classes(module: ModuleType, base: type) -> dict[str, type]:
    members = inspect.getmembers(module, inspect.isclass)
    return {name: member for name, member in members if issubclass(member, base)}


SCHEDULES = classes(schedules, schedules.LearningRateSchedule)


def required_arguments(schedule: type) -> dict[str, Any]:
    parameters = inspect.signature(schedule).parameters.values()
    return {p.name: SCHEDULE_ARGUMENTS[p.name] for p in parameters if p.default is p.empty}


@pytest.mark.parametrize(("class_name", "reason"), REFUSED.items())
def test_what_is_no_optimizer_of_its_own_is_refused(class_name: str, reason: str) -> None:
    with pytest.raises(
        InputError, match=rf"optimizers\.it\.class_name: not {class_name}.*{reason}"
    ):
        build_optimizer("it", optimizer(class_name=class_name))


@pytest.mark.parametrize("class_name", sorted(SCHEDULES.keys() - {"LearningRateSchedule"}))
def test_every_schedule_of_keras_makes_a_step(class_name: str) -> None:
    schedule = {"class_name": class_name, **required_arguments(SCHEDULES[class_name])}
    entry = optimizer(class_name="SGD", learning_rate=schedule)
    check_optimizers({"it": entry})
    assert isinstance(build_learning_rate("it", entry), SCHEDULES[class_name])


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"class_name": "Adma"}, r"optimizers\.it\.class_name: no class 'Adma'.* mean Adam"),
        (
            {"class_name": "Sophia"},
            r"optimizers\.it\.class_name: .*; known: .*Adam, AdamW, .*ScheduleFreeAdamW$",
        ),
        ({"class_name": "Adam", "momentum": 0.9}, r"it\.momentum: not an argument of Adam"),
        ({"class_name": "SGD", "momentun": 0.9}, r"it\.momentun: .*did you mean momentum"),
        ({"class_name": "SGD", "lr": 0.1}, r"it\.lr: .*; known: .*momentum, nesterov"),
        ({"class_name": "SGD", "name": "mine"}, r"it\.name: not an argument of SGD"),
        ({"class_name": "SGD", "momentum": "high"}, r"optimizers\.it: .*`?momentum`?"),
        ({"class_name": "SGD", "momentum": -1}, r"optimizers\.it: .*momentum"),
        ({"class_name": "Adam", "beta_1": "high"}, r"optimizers\.it: \S"),
        (
            {"class_name": "SGD", "learning_rate": {"class_name": "CosineDecays"}},
            r"optimizers\.it\.learning_rate\.class_name: .*did you mean CosineDecay",
        ),
        (
            {"class_name": "SGD", "learning_rate": {"class_name": "LearningRateSchedule"}},
            r"optimizers\.it\.learning_rate\.class_name: not LearningRateSchedule: .*base class",
        ),
        (
            {"class_name": "SGD", "learning_rate": {"class_name": "CosineDecay", "decay": 9}},
            r"optimizers\.it\.learning_rate\.decay: not an argument of CosineDecay; .*decay_steps",
        ),
        (
            {"class_name": "SGD", "learning_rate": {"class_name": "CosineDecay"}},
            r"optimizers\.it\.learning_rate: .*missing.*initial_learning_rate",
        ),
    ],
)
def test_a_fault_is_told_with_its_key_and_what_would_be_right(
    entry: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        check_optimizers({"it": optimizer(**entry)})


def test_all_faults_are_told_at_once_a_line_each() -> None:
    faulty = {
        "first": optimizer(class_name="Adma"),
        "right": optimizer(class_name="Adam"),
        "second": optimizer(class_name="SGD", momentum="high"),
        "third": optimizer(class_name="Adam", beta_1="high"),
    }
    with pytest.raises(InputError) as raised:
        check_optimizers(faulty)
    lines = str(raised.value).splitlines()
    assert [line.split(":")[1].split(".")[1] for line in lines] == ["first", "second", "third"]


def test_the_committed_optimizers_are_right() -> None:
    check_optimizers(COMMITTED.optimizers)


@pytest.mark.parametrize(
    ("learning_rate", "peak"),
    [
        (0.3, 0.3),
        ({"class_name": "ExponentialDecay", "decay_steps": 10, "decay_rate": 0.5}, 0.1),
        ({"class_name": "CosineDecay", "warmup_target": 0.2, "warmup_steps": 50}, 0.2),
        # What comes after the last step was never used.
        ({"class_name": "PiecewiseConstantDecay", "boundaries": [100], "values": [0.1, 9.0]}, 0.1),
    ],
)
def test_the_peak_is_the_largest_rate_in_use(learning_rate: Any, peak: float) -> None:
    if isinstance(learning_rate, dict):
        needed = required_arguments(SCHEDULES[learning_rate["class_name"]])
        learning_rate = needed | learning_rate
    rate = build_learning_rate("it", optimizer(class_name="SGD", learning_rate=learning_rate))
    assert peak_learning_rate(rate, n_steps=101) == pytest.approx(peak)


def schedule(**entries: Any) -> RateSchedule:
    defaults: dict[str, Any] = {"warmup": 0.0, "decay": "none", "final": 0.0}
    return RateSchedule(**(defaults | entries))


@pytest.mark.parametrize("n_epochs", [1, 5, 50])
@pytest.mark.parametrize("n_steps_per_epoch", [20, 33, 34])  # the last minibatch full, or partial
@pytest.mark.parametrize("decay", ["none", "linear", "cosine"])
def test_a_schedule_rises_to_its_peak_and_falls_to_its_end_at_the_right_steps(
    n_epochs: int, n_steps_per_epoch: int, decay: str
) -> None:
    n_steps = n_epochs * n_steps_per_epoch
    rates = relative_rates(schedule(warmup=0.1, decay=decay, final=0.1), n_steps)
    assert rates is not None
    assert rates.shape == (n_steps,)
    n_warmup = round(0.1 * n_steps)
    assert rates[0] == pytest.approx(1 / (n_warmup + 1))
    assert np.diff(rates[: n_warmup + 1]) == pytest.approx(1 / (n_warmup + 1), abs=1e-6)
    assert int(np.argmax(rates)) == n_warmup
    assert rates[n_warmup] == 1
    if decay == "none":
        assert (rates[n_warmup:] == 1).all()
        return
    assert (np.diff(rates[n_warmup:]) < 0).all()
    assert rates[(n_warmup + n_steps) // 2] == pytest.approx(0.55, abs=1 / (n_steps - n_warmup))
    # One step more would be at the end itself.
    last = 1 / (n_steps - n_warmup)
    left = last if decay == "linear" else (1 - np.cos(np.pi * last)) / 2
    assert rates[-1] == pytest.approx(0.1 + 0.9 * left, abs=1e-6)


@pytest.mark.parametrize(
    "constant", [schedule(), schedule(final=0.5), schedule(decay="cosine", final=1.0)]
)
def test_a_schedule_without_warm_up_and_decay_is_none(constant: RateSchedule) -> None:
    assert relative_rates(constant, 100) is None


def test_the_optimizer_uses_the_schedule_step_by_step() -> None:
    factor = keras.Variable(10.0, trainable=False)
    rates = relative_rates(schedule(warmup=0.25, decay="linear"), 8)
    built = build_optimizer("it", optimizer(class_name="SGD"), factor, rates)
    weight = keras.Variable(np.zeros(1, np.float32))
    before, steps = 0.0, []
    for _ in range(9):
        built.apply([keras.ops.ones(1)], [weight])
        steps.append(before - float(weight.numpy()[0]))
        before = float(weight.numpy()[0])
    # 10 * 0.1 times the relative rate; a step beyond the last has the last one's.
    expected = [1 / 3, 2 / 3, 1, 5 / 6, 4 / 6, 3 / 6, 2 / 6, 1 / 6, 1 / 6]
    assert steps == pytest.approx(expected, abs=1e-5)


def test_muon_leaves_out_the_output_layer_whatever_its_name() -> None:
    model = small_network(hidden_units=[4, 4]).model
    fitted = leave_out_output_layer(optimizer(class_name="Muon"), model)
    built = build_optimizer("it", fitted)
    built.build(model.trainable_variables)
    matrices = [w for w in model.trainable_variables if len(w.shape) == 2]
    with_muon = [w for w in matrices if not built._should_use_adamw(w)]
    assert len(matrices) == 3
    assert with_muon == matrices[:-1]
    given = optimizer(class_name="Muon", exclude_layers=["nothing"])
    assert leave_out_output_layer(given, model) is given


@pytest.mark.parametrize(
    ("search", "message"),
    [
        ({"momentun": {"low": 0.1, "high": 0.9, "scale": "linear"}}, "did you mean momentum"),
        ({"learning_rate": {"low": 0.1, "high": 0.9, "scale": "log"}}, "learning_rate_factors"),
        ({"momentum": {"low": 0.1, "high": 1.5, "scale": "linear"}}, "momentum"),
        ({"nesterov": {"choices": [True, "yes"]}}, "should be true or false"),
    ],
)
def test_a_search_space_that_the_optimizer_cannot_have_is_told(
    search: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=rf"optimizers\.it.*{message}"):
        check_optimizers({"it": optimizer(class_name="SGD", search=search)})


def test_the_arguments_of_every_keras_optimizer_reach_an_own_one() -> None:
    entry = optimizer(class_name="optimizers/adopt.py:ADOPT", clipnorm=1.0, use_ema=True)
    built = build_optimizer("it", entry)
    assert (built.clipnorm, built.use_ema) == (1.0, True)
    with pytest.raises(InputError, match="did you mean clipnorm"):
        build_optimizer("it", optimizer(class_name="optimizers/adopt.py:ADOPT", clipnrm=1.0))
