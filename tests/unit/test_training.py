"""One trial: what its seed decides, what it leaves behind, and how it ends."""

import errno
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from math import inf, nan
from typing import Any, cast

import numpy as np
import pytest

from stages.common.data import Scaling
from stages.common.errors import InputError
from stages.common.optimizer_params import Optimizer
from stages.common.runs import Completed, Diverged, Failed, Phase
from stages.engine import loop, training
from stages.engine.environment import describe_environment
from stages.engine.loop import Epoch, Scores, Slot
from stages.engine.training import plan_work, run_trial, train_trial
from stages.engine.trial import N_SLOTS, Trial, TrialResult, Work
from tests.conftest import thorough
from tests.examples import DATA, DATASET, bits, small_slot, small_work
from tests.parameters import COMMITTED, optimizer, small_params

SGD = optimizer(class_name="SGD")
COSINE = {"class_name": "CosineDecay", "initial_learning_rate": 0.1, "decay_steps": 8}


class ScriptedSlot:
    """Stands for a slot, gives the scores it is told, and notes what a trial asks for."""

    n_train = 20
    n_steps_per_epoch = 5
    n_epochs_per_call = 2
    program = None

    def __init__(
        self,
        training: list[Scores],
        validation: list[Scores],
        weights: tuple[np.ndarray, ...] = (),
        *,
        averages: bool = False,
    ) -> None:
        self.averages = averages
        self._training, self._validation = iter(training), iter(validation)
        self._weights = weights
        self.orders: list[bytes] = []
        self.calls: list[str] = []
        self.model = self

    def reset(self, seed: int, learning_rate_factor: float) -> None:
        self.calls.append(f"reset {seed} {learning_rate_factor}")

    def take_evaluation_point(self) -> None:
        self.calls.append("take evaluation point")

    def train(self, orders: Any) -> list[Epoch]:
        self.calls.append(f"train {len(orders)}")
        epochs: list[Epoch] = []
        for order in orders:
            assert sorted(order) == list(range(self.n_train))
            self.orders.append(order.tobytes())
            epochs.append(Epoch(next(self._training), next(self._validation)))
            if not epochs[-1].is_finite:
                break
        return epochs

    def finish(self) -> Scores | None:
        self.calls.append("finish")
        return next(self._validation) if self.averages else None

    def get_weights(self) -> Iterator[Any]:
        return iter(self._weights)


def run(
    slot: Any, seed: int, epochs: int = 2, phase: Phase = "confirmation", **sections: Any
) -> TrialResult:
    work = small_work(SGD, train={"epochs": epochs}, **sections)
    return run_trial(cast("Slot", slot), work, Trial(phase, 1.0, seed, 3))


def scripted(losses: list[float], accuracies: list[float] | None = None) -> ScriptedSlot:
    validation = list(map(Scores, losses, accuracies or [0.5] * len(losses)))
    return ScriptedSlot([Scores(1.0, 0.5)] * len(losses), validation)


def test_a_seed_gives_every_optimizer_the_same_initial_weights() -> None:
    slots = [small_slot(optimizer(class_name=name)) for name in ("SGD", "Adam")]

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
    slot = small_slot(entry, model={"dropout": dropout})
    alone, other, after = (run(slot, seed) for seed in (2, 1, 2))
    assert (after.row, after.curve) == (alone.row, alone.curve)
    assert after.curve != other.curve
    assert bits(after.weights) == bits(alone.weights) != []


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
    assert result.row == diverged(n_epochs)
    assert result.weights == ()
    assert [epoch.epoch for epoch in result.curve] == list(range(1, n_epochs))


def diverged(n_epochs: int) -> Diverged:
    return Diverged(
        phase="confirmation",
        setting=3,
        learning_rate=0.1,
        seed=1,
        n_epochs=n_epochs,
        n_steps=5 * n_epochs,
    )


def test_an_epoch_with_a_loss_that_is_not_finite_is_not_in_the_curve() -> None:
    slot = ScriptedSlot([Scores(1.0, 0.5)], [Scores(nan, 0.25)])
    assert run(slot, 1, epochs=1).curve == ()


@pytest.mark.parametrize("number", [nan, inf, -inf])
def test_a_weight_that_is_not_finite_is_diverged_though_the_loss_hides_it(number: float) -> None:
    weights = np.zeros(3, np.float32), np.array([[0, number]], np.float32)
    scores = [Scores(1.0, 0.5)] * 2
    result = run(ScriptedSlot(scores, scores, weights), 1)
    assert result.row == diverged(2)
    assert result.weights == ()
    assert [epoch.epoch for epoch in result.curve] == [1, 2]


def test_a_huge_learning_rate_diverges_at_once() -> None:
    entry = optimizer(class_name="SGD", learning_rate=1e30)
    row = run(small_slot(entry), 1, epochs=3).row
    assert (row.outcome, row.n_epochs) == ("diverged", 1)


def test_scores_are_of_the_last_epoch_and_the_best_one_is_named() -> None:
    row = run(scripted([3.0, 2.0, 4.0], [0.5, 0.75, 0.75]), 1, epochs=3).row
    assert isinstance(row, Completed)
    assert (row.n_epochs, row.n_steps) == (3, 15)
    assert (row.validation_loss, row.validation_score) == (4.0, 0.75)
    assert (row.best_epoch, row.best_validation_score) == (2, 0.75)


def test_the_best_epoch_is_the_one_with_the_lowest_score_where_lower_is_better() -> None:
    lower = {"direction": "lower"}
    row = run(scripted([3.0, 2.0, 4.0], [0.75, 0.5, 0.5]), 1, epochs=3, task=lower).row
    assert isinstance(row, Completed)
    assert (row.best_epoch, row.best_validation_score) == (2, 0.5)


def test_a_score_that_is_not_finite_ends_the_trial_as_diverged() -> None:
    slot = ScriptedSlot([Scores(1.0, 0.5)] * 2, [Scores(1.0, -inf), Scores(1.0, 0.5)])
    assert run(slot, 1).row == diverged(1)


def test_a_result_says_which_trial_it_is_of() -> None:
    trial = Trial("tuning", 0.5, 9, 4)
    result = run_trial(cast("Slot", scripted([1.0, 1.0])), small_work(SGD), trial)
    row = result.row
    assert (row.phase, row.setting, row.seed, row.learning_rate) == ("tuning", 4, 9, 0.05)
    told = [(epoch.phase, epoch.setting, epoch.seed, epoch.epoch) for epoch in result.curve]
    assert told == [("tuning", 4, 9, 1), ("tuning", 4, 9, 2)]


@pytest.mark.parametrize(("phase", "n_weights"), [("tuning", 0), ("confirmation", 2)])
def test_only_a_confirmation_trial_keeps_its_weights(phase: Phase, n_weights: int) -> None:
    scores = [Scores(1.0, 0.5)] * 2
    slot = ScriptedSlot(scores, scores, (np.zeros(3), np.ones(1)))
    assert len(run(slot, 1, phase=phase).weights) == n_weights


def test_moving_averages_become_the_weights_before_the_last_validation() -> None:
    validation = [Scores(loss, 0.5) for loss in (4.0, 3.0, 2.0, 1.0)]
    slot = ScriptedSlot([Scores(1.0, 0.5)] * 3, validation, averages=True)
    curve = run(slot, 7, epochs=3).curve
    expected = ["reset 7 1.0", "train 2", "train 1", "finish", "take evaluation point"]
    assert slot.calls == expected
    assert [epoch.validation_loss for epoch in curve] == [4.0, 3.0, 1.0]


def test_without_averages_the_last_validation_stands() -> None:
    slot = scripted([3.0, 2.0])
    assert [epoch.validation_loss for epoch in run(slot, 7).curve] == [3.0, 2.0]
    assert slot.calls == ["reset 7 1.0", "train 2", "finish", "take evaluation point"]


@pytest.mark.parametrize(
    "entry",
    [
        optimizer(class_name="Adam"),
        optimizer(class_name="SGD", use_ema=True, ema_momentum=0.8),
        optimizer(class_name="optimizers/schedule_free_sgd.py:ScheduleFreeSGD", learning_rate=0.1),
    ],
    ids=["adam", "ema", "schedule_free"],
)
@pytest.mark.parametrize("dropout", [0.0, *thorough(0.5)])
def test_several_epochs_in_one_call_give_the_same_bits(
    monkeypatch: pytest.MonkeyPatch, entry: Optimizer, dropout: float
) -> None:
    results = []
    for n_uses in (0, 10**9):
        monkeypatch.setattr(loop, "N_USES_PER_CALL", n_uses)
        slot = small_slot(entry, model={"dropout": dropout}, train={"epochs": 3})
        results.append((slot.n_epochs_per_call, run(slot, 1, epochs=3)))
    (one, alone), (three, together) = results
    assert (one, three) == (1, 3)
    assert alone == replace(together, weights=alone.weights)
    assert bits(alone.weights) == bits(together.weights) != []


def train_in_new_thread(work: Work, *trials: Trial) -> list[TrialResult]:
    with ThreadPoolExecutor(1) as thread:
        return list(thread.map(lambda trial: train_trial(work, DATA, trial), trials))


@pytest.fixture
def n_built(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The keys of the slots that were built."""
    built: list[str] = []
    real = training.build_slot

    def counted(work: Work, *splits: Any) -> Slot:
        built.append(work.key)
        return real(work, *splits)

    monkeypatch.setattr(training, "build_slot", counted)
    return built


@pytest.fixture
def _scripted_slots(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "build_slot", lambda *_: scripted([1.0] * 100))


def raise_for_seed(monkeypatch: pytest.MonkeyPatch, seed: int, error: Exception) -> None:
    real = training.run_trial

    def run_or_raise(slot: Slot, work: Work, trial: Trial) -> TrialResult:
        result = real(slot, work, trial)
        if trial.seed == seed:
            raise error
        return result

    monkeypatch.setattr(training, "run_trial", run_or_raise)


@pytest.mark.usefixtures("_scripted_slots")
def test_an_exception_ends_the_trial_as_failed_with_its_text(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    text = f"no room\n  for {object()!r} of\t{hex(2**40)}"
    raise_for_seed(monkeypatch, 2, RuntimeError(text))
    (result,) = train_in_new_thread(small_work(SGD), Trial("confirmation", 0.5, 2, 3))
    assert result == TrialResult(
        row=Failed(
            phase="confirmation",
            setting=3,
            learning_rate=0.05,
            seed=2,
            n_epochs=0,
            n_steps=0,
            reason="RuntimeError: no room for <object object at 0x…> of 0x…",
        ),
        curve=(),
        weights=(),
    )


@pytest.mark.usefixtures("_scripted_slots")
def test_the_text_of_a_failed_trial_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    raise_for_seed(monkeypatch, 2, RuntimeError("words " * 1000))
    (result,) = train_in_new_thread(small_work(SGD), Trial("tuning", 1.0, 2, 0))
    assert isinstance(result.row, Failed)
    assert len(result.row.reason) == 300
    assert result.row.reason.startswith("RuntimeError: words words")


def test_a_full_disk_is_no_failure_of_the_optimizer(monkeypatch: pytest.MonkeyPatch) -> None:
    raise_for_seed(monkeypatch, 2, OSError(errno.ENOSPC, "No space left on device", "a file"))
    with pytest.raises(InputError, match="a file: No space left on device"):
        train_in_new_thread(small_work(SGD), Trial("tuning", 1.0, 2, 0))


def test_a_failed_trial_leaves_no_trace_in_those_after_it(
    monkeypatch: pytest.MonkeyPatch, n_built: list[str]
) -> None:
    trials = [Trial("confirmation", 1.0, seed, 0) for seed in (1, 2, 3)]
    work = small_work(SGD)
    alone = train_in_new_thread(work, *trials)
    assert n_built == [work.key]
    raise_for_seed(monkeypatch, 2, RuntimeError("no room"))
    before, failed, after = train_in_new_thread(work, *trials)
    assert n_built == [work.key] * 3  # what failed is not used again
    assert failed.row.outcome == "failed"
    for again, first in ((before, alone[0]), (after, alone[2])):
        assert (again.row, again.curve) == (first.row, first.curve)
        assert bits(again.weights) == bits(first.weights) != []


def test_the_first_thread_compiles_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    traced: list[object] = []
    real = loop._train_epoch

    def counted(*arguments: Any) -> Any:
        traced.append(arguments[0])
        return real(*arguments)

    monkeypatch.setattr(loop, "_train_epoch", counted)
    # A batch size that no other test has, since programs outlive threads.
    work = small_work(SGD, train={"batch_size": 23})
    trials = [Trial("confirmation", 1.0, seed, 0) for seed in (1, 2)]
    alone = train_in_new_thread(work, *trials)
    together = [train_in_new_thread(work, trial)[0] for trial in reversed(trials)]
    assert len(traced) == 1
    for result, expected in zip(reversed(together), alone, strict=True):
        assert result.row == expected.row
        assert bits(result.weights) == bits(expected.weights) != []


@pytest.mark.usefixtures("_scripted_slots")
def test_wrong_parameters_are_no_outcome_of_a_trial(monkeypatch: pytest.MonkeyPatch) -> None:
    raise_for_seed(monkeypatch, 2, InputError("params.yaml: model.name: no such model"))
    with pytest.raises(InputError, match=r"^params\.yaml: model\.name: no such model$"):
        train_in_new_thread(small_work(SGD), Trial("tuning", 1.0, 2, 0))


def test_a_thread_keeps_the_slots_that_it_used_last(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    built: list[str] = []

    def build(work: Work, *_: object) -> Any:
        built.append(work.key)
        return scripted([1.0] * 100)

    monkeypatch.setattr(training, "build_slot", build)
    work, trial = small_work(SGD), Trial("tuning", 1.0, 1, 0)
    works = [replace(work, key=str(place)) for place in range(N_SLOTS + 1)]
    oldest, second, *_ = works
    order = [*works[:-1], oldest, works[-1], oldest, second]
    with ThreadPoolExecutor(1) as thread:
        for used in order:
            assert thread.submit(train_trial, used, DATA, trial).result().row.outcome == "completed"
    # The second was used longest ago when the last one came.
    assert built == [*(work.key for work in works), second.key]


def key(entry: Optimizer = SGD, **sections: Any) -> str:
    return small_work(entry, **sections).key


def test_whatever_decides_a_result_is_part_of_its_key() -> None:
    environment = describe_environment()
    params = small_params({"it": SGD})

    def planned(**changes: Any) -> str:
        arguments: dict[str, Any] = {
            "dataset": DATASET,
            "data_digest": "",
            "environment": environment,
        }
        return plan_work("it", params, **(arguments | changes)).key

    keys = [
        planned(),
        planned(data_digest="another"),
        planned(dataset=replace(DATASET, scaling=Scaling((1 / 255,), (0.0,), (), ()))),
        planned(dataset=replace(DATASET, n_outputs=3)),
        planned(environment=replace(environment, source="another")),
        planned(environment=replace(environment, versions={"keras": "3.0.0"})),
        planned(environment=replace(environment, processor=("another",))),
        key(optimizer(class_name="SGD", learning_rate=0.2)),
        key(optimizer(class_name="SGD", momentum=0.9)),
        key(optimizer(class_name="Adam")),
        key(train={"epochs": 3}),
        key(train={"batch_size": 17}),
        key(train={"jit_compile": True}),
        key(model={"hidden_units": [9]}),
        key(model={"dropout": 0.5}),
        key(model={"name": "cnn"}),
        key(task={"loss": "categorical_focal_crossentropy"}),
        key(task={"score": "sparse_top_k_categorical_accuracy"}),
        key(task={"direction": "lower"}),
    ]
    assert keys[0] == key()
    assert len(set(keys)) == len(keys)


def test_what_decides_no_result_is_no_part_of_its_key() -> None:
    environment = describe_environment()
    entries = {"other": SGD, "more": optimizer(class_name="Adam")}
    params = small_params(
        entries,
        tuning={
            "learning_rate_factors": [0.1, 1.0],
            "n_settings": 4,
            "seeds": [7, 8],
            "final_seeds": [9],
        },
        confirmation={"first_seed": 30, "at_most": 20},
        comparison={"margin": 0.5},
    )
    dataset = replace(DATASET, name="another", files=(), test_counts=(1, 1, 1, 1))
    assert plan_work("other", params, dataset, "", environment).key == key()


def test_work_takes_along_its_own_optimizer_alone() -> None:
    params = small_params(COMMITTED.optimizers)
    work = plan_work("adam", params, DATASET, "", describe_environment())
    assert work.params.optimizers == {"adam": params.optimizers["adam"]}
    assert work.configured_rate == 0.001
