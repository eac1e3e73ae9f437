"""One trial: what its seed decides, what it leaves behind, and when it has diverged."""

from collections.abc import Iterator
from math import inf, nan
from typing import Any, cast

import keras
import pytest

from stages.common.params import Optimizer
from stages.train.loop import Scores, Slot, to_tensors
from stages.train.models import build_model
from stages.train.optimizers import build_optimizer
from stages.train.trial import Trial, TrialResult, run_trial
from tests.examples import DATASET, TRAIN, VALIDATION, bits, optimizer, small_params

COSINE = {"class_name": "CosineDecay", "initial_learning_rate": 0.1, "decay_steps": 8}


class ScriptedSlot:
    """Stands for a slot, gives the scores it is told, and notes what a trial asks for."""

    n_train = 20
    n_steps_per_epoch = 5

    def __init__(self, training: list[Scores], validation: list[Scores]) -> None:
        self._training, self._validation = iter(training), iter(validation)
        self.orders: list[bytes] = []
        self.calls: list[str] = []
        self.model = self

    def reset(self, seed: int, learning_rate_factor: float) -> None:
        self.calls.append(f"reset {seed} {learning_rate_factor}")

    def train_epoch(self, order: Any) -> Scores:
        assert sorted(order) == list(range(self.n_train))
        self.orders.append(order.tobytes())
        self.calls.append("train")
        return next(self._training)

    def finish(self) -> None:
        self.calls.append("finish")

    def validate(self) -> Scores:
        self.calls.append("validate")
        return next(self._validation)

    def get_weights(self) -> Iterator[Any]:
        return iter(())


def run(slot: Any, seed: int, epochs: int = 2) -> TrialResult:
    trial = Trial("confirmation", 1.0, seed)
    return run_trial(cast("Slot", slot), trial, epochs=epochs, configured_rate=0.1)


def scripted(losses: list[float], accuracies: list[float] | None = None) -> ScriptedSlot:
    validation = list(map(Scores, losses, accuracies or [0.5] * len(losses)))
    return ScriptedSlot([Scores(1.0, 0.5)] * len(losses), validation)


def new_slot(entry: Optimizer, dropout: float = 0.0) -> Slot:
    model = build_model(small_params({"it": entry}, model={"dropout": dropout}).model, DATASET)
    factor = keras.Variable(1.0, trainable=False)
    splits = to_tensors(TRAIN), to_tensors(VALIDATION)
    optimizer = build_optimizer("it", entry, factor)
    return Slot(model, optimizer, factor, *splits, batch_size=16, jit_compile=False)


def test_a_seed_gives_every_optimizer_the_same_initial_weights() -> None:
    slots = [new_slot(optimizer(class_name=name)) for name in ("SGD", "Adam")]

    def initial_weights(seed: int) -> list[list[bytes]]:
        for slot in slots:
            slot.reset(seed, 1.0)
        return [bits(slot.model.get_weights()) for slot in slots]

    first, other = initial_weights(1), initial_weights(2)
    assert first[0] == first[1] != other[0] == other[1]


def test_the_seed_alone_decides_the_order_of_examples() -> None:
    slots = [scripted([1.0] * 2) for _ in range(3)]
    for slot, seed in zip(slots, (1, 1, 2), strict=True):
        run(slot, seed)
    first, again, other = (slot.orders for slot in slots)
    assert first == again
    assert len({*first, *other}) == 4


@pytest.mark.parametrize(
    ("entry", "dropout"),
    [
        (optimizer(class_name="SGD", momentum=0.9), 0.5),
        (optimizer(class_name="Nadam", learning_rate=0.01), 0.0),
        (optimizer(class_name="Adam", learning_rate=0.01, use_ema=True), 0.0),
        (optimizer(class_name="SGD", gradient_accumulation_steps=3), 0.0),
        (optimizer(class_name="SGD", learning_rate=COSINE), 0.0),
    ],
    ids=["dropout", "nadam", "ema", "accumulation", "schedule"],
)
def test_a_trial_leaves_no_trace_in_its_slot(entry: Optimizer, dropout: float) -> None:
    slot = new_slot(entry, dropout)
    alone, other, after = (run(slot, seed) for seed in (2, 1, 2))
    assert (after.row, after.curve) == (alone.row, alone.curve)
    assert after.curve != other.curve
    assert bits(after.weights or ()) == bits(alone.weights or ()) != []


@pytest.mark.parametrize(
    ("training", "validation", "n_epochs"),
    [
        ([1.0, nan, 1.0], [1.0, 1.0, 1.0], 2),
        ([inf, 1.0, 1.0], [1.0, 1.0, 1.0], 1),
        ([1.0, 1.0, 1.0], [1.0, 1.0, inf], 3),
        ([1.0, -inf, 1.0], [1.0, inf, 1.0], 2),
    ],
)
def test_a_loss_that_is_not_finite_ends_the_trial_as_diverged(
    training: list[float], validation: list[float], n_epochs: int
) -> None:
    slot = ScriptedSlot([Scores(x, 0.5) for x in training], [Scores(x, 0.5) for x in validation])
    result = run(slot, 1, epochs=3)
    row = result.row
    assert (row.status, row.n_epochs, row.n_steps) == ("diverged", n_epochs, 5 * n_epochs)
    assert result.weights is None
    scores = (row.train_loss, row.train_accuracy, row.validation_loss, row.validation_accuracy)
    assert (*scores, row.best_epoch, row.best_validation_accuracy) == (None,) * 6
    assert len(result.curve) == n_epochs


def test_an_epoch_has_no_number_where_the_loss_is_not_finite() -> None:
    slot = ScriptedSlot([Scores(1.0, 0.5)], [Scores(nan, 0.25)])
    (epoch,) = run(slot, 1, epochs=1).curve
    assert (epoch.train_loss, epoch.train_accuracy) == (1.0, 0.5)
    assert (epoch.validation_loss, epoch.validation_accuracy) == (None, None)


def test_a_huge_learning_rate_diverges_at_once() -> None:
    entry = optimizer(class_name="SGD", learning_rate=1e30)
    row = run(new_slot(entry), 1, epochs=3).row
    assert (row.status, row.n_epochs) == ("diverged", 1)


def test_scores_are_of_the_last_epoch_and_the_best_one_is_named() -> None:
    row = run(scripted([3.0, 2.0, 4.0], [0.5, 0.75, 0.75]), 1, epochs=3).row
    assert (row.status, row.n_epochs, row.n_steps) == ("completed", 3, 15)
    assert (row.validation_loss, row.validation_accuracy) == (4.0, 0.75)
    assert (row.best_epoch, row.best_validation_accuracy) == (2, 0.75)


def test_moving_averages_become_the_weights_before_the_last_validation() -> None:
    slot = scripted([1.0, 1.0])
    run(slot, 7)
    assert slot.calls == ["reset 7 1.0", "train", "validate", "train", "finish", "validate"]
