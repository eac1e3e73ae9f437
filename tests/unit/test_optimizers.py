"""Keras's optimizers and schedules by name: what is built, and what is refused with which words."""

import inspect
from types import ModuleType
from typing import Any

import keras
import pytest
from keras.optimizers import schedules

from stages.common.errors import InputError
from stages.engine.optimizers import (
    build_learning_rate,
    build_optimizer,
    check_optimizers,
    peak_learning_rate,
)
from stages.engine.training import run_trial
from stages.engine.trial import Trial
from tests.examples import small_slot, small_work
from tests.parameters import COMMITTED, optimizer

REFUSED = {
    "LossScaleOptimizer": "loss_scale_factor",
    "MultiOptimizer": "combines others",
    "Optimizer": "base class",
    "ScheduleFreeAdamW": "weights in training are not those to be scored",
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


OPTIMIZERS = classes(keras.optimizers, keras.optimizers.Optimizer)
SCHEDULES = classes(schedules, schedules.LearningRateSchedule)


def required_arguments(schedule: type) -> dict[str, Any]:
    parameters = inspect.signature(schedule).parameters.values()
    return {p.name: SCHEDULE_ARGUMENTS[p.name] for p in parameters if p.default is p.empty}


@pytest.mark.parametrize("class_name", sorted(OPTIMIZERS.keys() - REFUSED.keys()))
def test_every_optimizer_of_keras_trains(class_name: str) -> None:
    entry, train = optimizer(class_name=class_name), {"epochs": 1}
    trial = Trial("tuning", 1.0, 1, 0)
    result = run_trial(small_slot(entry, train=train), small_work(entry, train=train), trial)
    assert result.row.outcome == "completed"


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
        ({"class_name": "Sophia"}, r"optimizers\.it\.class_name: .*; known: .*Adam, AdamW, .*SGD$"),
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
