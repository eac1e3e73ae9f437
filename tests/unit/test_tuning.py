"""All trials of one optimizer, and the same bytes from every process."""

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import joblib
import keras
import numpy as np
import pytest
import yaml

from stages.common.data import DATASET as DATASET_FILE
from stages.common.data import PROCESSED
from stages.common.data import TRAIN as TRAIN_FILE
from stages.common.data import VALIDATION as VALIDATION_FILE
from stages.common.errors import InputError
from stages.common.files import DIGESTS
from stages.common.runs import ALL_WEIGHTS, RUNS, TRIALS
from stages.engine import models, training
from stages.engine.loop import Slot
from stages.engine.trial import Trial, TrialResult, Work
from stages.engine.workers import count_workers
from stages.train.finished import Trained
from stages.train.search import merit
from tests.conftest import PROJECT, contents
from tests.examples import (
    DATASET,
    SCORE,
    TRAIN,
    VALIDATION,
    bits,
    small_training,
    unnamed_network,
    write_trained,
)
from tests.parameters import optimizer, small_params

GRID = {
    "learning_rate_factors": [0.01, 1.0, 3.0],
    "n_settings": 3,
    "seeds": [91, 92],
    "final_seeds": [],
}
FRESH = list(range(100, 110))


def told(trained: Trained) -> list[tuple[str, float, int]]:
    """Phase, factor and seed of each trial in its order."""
    factors = [setting.learning_rate_factor for setting in trained.run.settings]
    return [(row.phase, factors[row.setting], row.seed) for row in trained.trials]


def planned(phase: str, factors: Sequence[float], seeds: Sequence[int]) -> list[Any]:
    return [(phase, factor, seed) for factor in factors for seed in seeds]


def test_training_tunes_then_confirms_the_chosen_rate_and_the_configured_one(
    tmp_path: Path,
) -> None:
    entry = optimizer(class_name="SGD", learning_rate=0.01)
    trained = small_training(entry, tuning=GRID)
    run = trained.run
    factors = [setting.learning_rate_factor for setting in run.settings]
    assert (factors, run.tuned, run.configured) == ([0.01, 1.0, 3.0], 2, 1)
    assert told(trained) == [
        *planned("tuning", factors, (91, 92)),
        *planned("confirmation", (3.0, 1.0), FRESH),
    ]
    rates = [run.settings[row.setting].learning_rate for row in trained.trials]
    assert [row.learning_rate for row in trained.trials] == rates
    assert rates[:7:2] == pytest.approx([0.0001, 0.01, 0.03, 0.03])
    assert trained.weights.settings.tolist() == [2] * 10 + [1] * 10
    assert trained.weights.seeds.tolist() == [*FRESH, *FRESH]
    tuned = [vars(row)["validation_score"] for row in trained.trials[6:16]]
    kept = [stacked[int(np.argmax(tuned))] for stacked in trained.weights.arrays]
    assert trained.model is not None
    saved = tmp_path / "model.keras"
    saved.write_bytes(trained.model)
    assert bits(keras.models.load_model(saved).get_weights()) == bits(kept)


def test_the_grid_grows_and_the_best_three_are_trained_with_the_final_seeds_as_well() -> None:
    entry = optimizer(class_name="SGD", learning_rate=1e-6)
    grid = {**GRID, "learning_rate_factors": [0.1, 1.0], "n_settings": 4, "final_seeds": [93, 94]}
    trained = small_training(entry, tuning=grid)
    grown = [0.1, 1.0, 10.0, 100.0]
    assert [setting.learning_rate_factor for setting in trained.run.settings] == grown
    assert trained.run.configured == 1
    trials = told(trained)
    assert trials[:8] == planned("tuning", grown, (91, 92))
    finals = trials[8:14]
    assert finals[0::2] == [("tuning", factor, 93) for _, factor, _ in finals[0::2]]
    assert finals[1::2] == [("tuning", factor, 94) for _, factor, _ in finals[0::2]]
    # Finalists stand by their merit, the best first.
    rows = {factor: trained.trials[2 * i : 2 * i + 2] for i, factor in enumerate(grown)}
    by_merit = sorted(grown, key=lambda factor: merit(rows[factor], SCORE), reverse=True)
    assert [factor for _, factor, _ in finals[0::2]] == by_merit[:3]
    # The first fresh seeds come last.
    assert [(phase, seed) for phase, _, seed in trials[14:24]] == [
        ("confirmation", seed) for seed in FRESH
    ]


def test_the_tuned_rate_is_the_finalist_with_the_best_mean_over_all_tuning_seeds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # By the first seeds 3 is the best; with the final ones 1 is. The worst of them, 0.01, would
    # win by its final seeds, but is no finalist.
    accuracies = {(3.0, 91): 0.9, (1.0, 91): 0.8, (0.1, 91): 0.7, (0.01, 91): 0.1}
    accuracies |= {(3.0, 93): 0.1, (1.0, 93): 0.9, (0.1, 93): 0.2, (0.01, 93): 1.0}
    real = training.run_trial

    def scripted(slot: Slot, work: Work, trial: Trial) -> TrialResult:
        result = real(slot, work, trial)
        accuracy = accuracies.get((trial.learning_rate_factor, trial.seed), 0.5)
        row: Any = result.row
        return replace(result, row=replace(row, validation_score=accuracy))

    monkeypatch.setattr(training, "run_trial", scripted)
    grid = {
        "learning_rate_factors": [0.01, 0.1, 1.0, 3.0],
        "n_settings": 4,
        "seeds": [91],
        "final_seeds": [93],
    }
    trained = small_training(optimizer(class_name="SGD", learning_rate=0.01), tuning=grid)
    assert trained.run.settings[trained.run.tuned].learning_rate_factor == 1.0
    assert told(trained)[4:7] == planned("tuning", (3.0, 1.0, 0.1), (93,))


def test_every_optimizer_gets_the_same_number_of_tuning_trials_however_it_behaves() -> None:
    grid = {
        "learning_rate_factors": [0.1, 1.0, 10.0],
        "n_settings": 6,
        "seeds": [91, 92],
        "final_seeds": [93],
    }
    entries = [optimizer(class_name="SGD"), optimizer(class_name="SGD", learning_rate=1e30)]
    runs = [small_training(entry, train={"epochs": 1}, tuning=grid) for entry in entries]
    outcomes = [{row.outcome for row in run.trials} for run in runs]
    assert outcomes == [{"completed"}, {"diverged"}]
    assert (runs[1].model, runs[1].weights.arrays) == (None, ())
    for trained in runs:
        tuning = [(factor, seed) for phase, factor, seed in told(trained) if phase == "tuning"]
        assert len(set(tuning)) == len(tuning) == 6 * 2 + 3 * 1
    assert len({tuple(told(trained)[6:12]) for trained in runs}) > 1


MOMENTUM = {"momentum": {"low": 0.0, "high": 0.99, "scale": "one_minus_log"}}
SPACE = {
    "learning_rate_factors": [0.1, 1.0, 10.0],
    "n_settings": 6,
    "seeds": [91, 92],
    "final_seeds": [93],
}


def test_a_searched_setting_trains_as_if_its_values_stood_in_params_yaml(tmp_path: Path) -> None:
    entry = optimizer(class_name="SGD", learning_rate=0.05, search=MOMENTUM)
    trained = small_training(entry, tmp_path, train={"epochs": 1}, tuning=SPACE)
    run = trained.run
    assert len(run.settings) == 6
    assert len([row for row in trained.trials if row.phase == "tuning"]) == 6 * 2 + 3
    assert (run.settings[0].arguments, run.configured) == ({}, 0)
    chosen = run.settings[run.tuned]
    assert set(chosen.arguments) == {"momentum"}
    assert run.optimizer["momentum"] == chosen.arguments["momentum"]
    typed = small_training(
        optimizer(class_name="SGD", learning_rate=0.05, **chosen.arguments),
        train={"epochs": 1},
        tuning={"learning_rate_factors": [chosen.learning_rate_factor]},
    )
    assert typed.run.tuned == 0
    assert bits(a[:10] for a in trained.weights.arrays) == bits(
        a[:10] for a in typed.weights.arrays
    )


def test_without_a_rate_to_be_tuned_the_whole_budget_goes_to_the_other_arguments() -> None:
    entry = optimizer(
        class_name="SGD", learning_rate=0.05, learning_rate_factors=[1.0], search=MOMENTUM
    )
    trained = small_training(entry, train={"epochs": 1}, tuning=SPACE)
    assert [setting.learning_rate_factor for setting in trained.run.settings] == [1.0] * 6
    assert len([row for row in trained.trials if row.phase == "tuning"]) == 6 * 2 + 3


def test_the_configured_rate_is_confirmed_once_if_tuning_chooses_it() -> None:
    grid = {**GRID, "learning_rate_factors": [1e-6, 1.0], "n_settings": 2, "seeds": [91]}
    trained = small_training(optimizer(class_name="SGD"), tuning=grid)
    assert trained.run.tuned == trained.run.configured == 1
    assert told(trained) == [
        *planned("tuning", (1e-6, 1.0), (91,)),
        *planned("confirmation", (1.0,), FRESH),
    ]


def test_a_configured_rate_outside_the_grid_is_confirmed_and_not_chosen() -> None:
    grid = {**GRID, "learning_rate_factors": [1e-6], "n_settings": 1, "seeds": [91]}
    trained = small_training(optimizer(class_name="SGD"), tuning=grid)
    assert [setting.learning_rate_factor for setting in trained.run.settings] == [1e-6, 1.0]
    assert (trained.run.tuned, trained.run.configured) == (0, 1)
    assert told(trained) == [
        *planned("tuning", (1e-6,), (91,)),
        *planned("confirmation", (1e-6, 1.0), FRESH),
    ]


def test_a_factor_acts_as_that_learning_rate_configured() -> None:
    factor = {"learning_rate_factors": [0.5]}
    scaled = small_training(optimizer(class_name="Adam", learning_rate=0.5), tuning=factor)
    assert (scaled.run.tuned, scaled.run.configured) == (0, 1)
    plain = small_training(optimizer(class_name="Adam", learning_rate=0.25))
    assert bits(array[:10] for array in scaled.weights.arrays) == bits(plain.weights.arrays)


def write_all(folder: Path, trained: Trained) -> None:
    write_trained(folder, trained)
    assert trained.model is not None
    (folder / "model.keras").write_bytes(trained.model)


def test_the_number_of_workers_changes_no_byte(tmp_path: Path) -> None:
    entry = optimizer(class_name="Nadam", learning_rate=0.01)
    for n in (1, 2):
        trained = small_training(
            entry, n_workers=n, tuning=GRID, model={"dropout": 0.5}, train={"epochs": 3}
        )
        write_all(tmp_path / str(n), trained)
    assert contents(tmp_path / "1", ".") == contents(tmp_path / "2", ".")


def test_a_network_without_names_trains_to_the_same_bits_in_every_thread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(models.MODELS, "unnamed", unnamed_network)
    entry = optimizer(class_name="Adam", learning_rate=0.01)
    for n in (1, 2):
        trained = small_training(
            entry, n_workers=n, tuning=GRID, model={"name": "unnamed", "dropout": 0.5}
        )
        assert {row.outcome for row in trained.trials} == {"completed"}
        write_all(tmp_path / str(n), trained)
    assert contents(tmp_path / "1", ".") == contents(tmp_path / "2", ".")


def test_optimizers_side_by_side_share_nothing() -> None:
    entries = [optimizer(class_name=name, learning_rate=0.01) for name in ("Adam", "RMSprop")]
    alone = [small_training(entry) for entry in entries]
    side_by_side = joblib.Parallel(2, "threading")(
        joblib.delayed(small_training)(e) for e in entries
    )
    for first, second in zip(alone, side_by_side, strict=True):
        assert first.epochs == second.epochs
        assert bits(first.weights.arrays) == bits(second.weights.arrays)


@pytest.fixture
def trained_seeds(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The seeds of the trials that were trained, in their order."""
    seeds: list[int] = []
    real = training.run_trial

    def counted(slot: Slot, work: Work, trial: Trial) -> TrialResult:
        seeds.append(trial.seed)
        return real(slot, work, trial)

    monkeypatch.setattr(training, "run_trial", counted)
    return seeds


def test_only_what_the_store_does_not_hold_is_trained(
    tmp_path: Path, trained_seeds: list[int]
) -> None:
    entry = optimizer(class_name="SGD")
    fresh = small_training(entry, tmp_path)
    assert sorted(trained_seeds) == [1, *FRESH]
    trained_seeds.clear()
    again = small_training(entry, tmp_path)
    assert trained_seeds == []
    assert_equal(again, fresh)
    small_training(entry, tmp_path, confirmation={"first_seed": 102})
    assert sorted(trained_seeds) == [110, 111]
    trained_seeds.clear()
    small_training(entry, tmp_path, tuning={"final_seeds": [7]})
    assert trained_seeds == [7]


def test_a_run_that_was_killed_goes_on_where_it_was_to_the_same_result(
    tmp_path: Path, trained_seeds: list[int]
) -> None:
    entry = optimizer(class_name="SGD", learning_rate=0.01)
    grid = {**GRID, "n_settings": 5, "final_seeds": [93]}
    undisturbed = small_training(entry, tuning=grid, train={"epochs": 1})
    n_trials = len(trained_seeds)
    assert n_trials == len(undisturbed.trials)

    counted = training.run_trial
    for n_done in (8, 15):
        store = tmp_path / str(n_done)
        trained_seeds.clear()

        def kill(slot: Slot, work: Work, trial: Trial, n_done: int = n_done) -> TrialResult:
            if len(trained_seeds) == n_done:
                raise InputError("killed")
            return counted(slot, work, trial)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(training, "run_trial", kill)
            with pytest.raises(InputError, match="killed"):
                small_training(entry, store, tuning=grid, train={"epochs": 1})
        assert len(list(store.glob("*/*.npz"))) == len(trained_seeds) == n_done
        resumed = small_training(entry, store, tuning=grid, train={"epochs": 1})
        assert len(trained_seeds) == n_trials
        assert_equal(resumed, undisturbed)


def assert_equal(one: Trained, other: Trained) -> None:
    assert one.run == other.run
    assert one.trials == other.trials
    assert one.epochs == other.epochs
    assert one.weights.settings.tolist() == other.weights.settings.tolist()
    assert one.weights.seeds.tolist() == other.weights.seeds.tolist()
    assert bits(one.weights.arrays) == bits(other.weights.arrays)


def test_a_rate_put_before_the_others_trains_only_what_is_new(
    tmp_path: Path, trained_seeds: list[int]
) -> None:
    entry = optimizer(class_name="SGD")
    small_training(entry, tmp_path)
    trained_seeds.clear()
    grid = {"learning_rate_factors": [1e-6, 1.0], "n_settings": 2}
    longer = small_training(entry, tmp_path, tuning=grid)
    assert trained_seeds == [1]
    assert_equal(longer, small_training(entry, tuning=grid))


class Fragile(keras.layers.Layer):  # type: ignore[misc]
    """Can be built, but not trained until it is mended."""

    is_mended = False

    def call(self, inputs: Any, training: bool = False) -> Any:
        if training and not self.is_mended:
            raise RuntimeError(f"no room for {object()!r} {'and more ' * 100}")
        return inputs


@pytest.fixture
def fragile(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The sections of parameters with such a network."""

    def network(pixels: keras.KerasTensor, _: object) -> keras.KerasTensor:
        return Fragile()(keras.layers.Flatten()(pixels))

    monkeypatch.setitem(models.MODELS, "fragile", network)
    return {"name": "fragile"}


def test_if_every_tuning_trial_fails_the_reason_is_told_once(fragile: dict[str, Any]) -> None:
    with pytest.raises(InputError) as raised:
        small_training(optimizer(class_name="SGD"), tuning=GRID, model=fragile)
    message = str(raised.value)
    assert message.startswith("params.yaml: optimizers.it: every trial failed: RuntimeError: ")
    assert message.count("no room for <object object at 0x…>") == 1
    assert "\n" not in message
    assert len(message) < 400


def test_a_trial_that_failed_is_tried_again_next_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fragile: dict[str, Any]
) -> None:
    entry = optimizer(class_name="SGD")
    with pytest.raises(InputError):
        small_training(entry, tmp_path, model=fragile)
    assert not list(tmp_path.rglob("*.npz"))
    monkeypatch.setattr(Fragile, "is_mended", True)
    trained = small_training(entry, tmp_path, model=fragile)
    assert {row.outcome for row in trained.trials} == {"completed"}


def test_a_failed_trial_does_not_end_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trained_seeds: list[int]
) -> None:
    entry = optimizer(class_name="SGD")
    counted = training.run_trial

    def run_but_for_one_seed(slot: Slot, work: Work, trial: Trial) -> TrialResult:
        if trial.seed == 102:
            raise MemoryError("no room")
        return counted(slot, work, trial)

    with monkeypatch.context() as patch:
        patch.setattr(training, "run_trial", run_but_for_one_seed)
        partly = small_training(entry, tmp_path / "store")
    outcomes = [(row.seed, row.outcome) for row in partly.trials]
    completed = [seed for seed in FRESH if seed != 102]
    expected = [(seed, "failed" if seed == 102 else "completed") for seed in (1, *FRESH)]
    assert outcomes == expected
    assert partly.weights.seeds.tolist() == completed
    assert {epoch.seed for epoch in partly.epochs} == {1, *completed}
    assert partly.model is not None
    write_trained(tmp_path, partly)
    assert [row.outcome for row in TRIALS.read(tmp_path)] == [outcome for _, outcome in outcomes]
    trained_seeds.clear()
    whole = small_training(entry, tmp_path / "store")
    assert trained_seeds == [102]
    assert_equal(whole, small_training(entry))


def test_tuning_goes_on_where_one_rate_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    real = training.run_trial

    def run_but_for_a_factor(slot: Slot, work: Work, trial: Trial) -> TrialResult:
        if trial.learning_rate_factor == 3.0:
            raise MemoryError("no room")
        return real(slot, work, trial)

    monkeypatch.setattr(training, "run_trial", run_but_for_a_factor)
    trained = small_training(optimizer(class_name="SGD", learning_rate=0.01), tuning=GRID)
    assert trained.run.tuned == 1
    failed = [(row.phase, row.setting) for row in trained.trials if row.outcome == "failed"]
    assert failed == [("tuning", 2)] * 2


@pytest.mark.parametrize("text", ["0", "-1", "two", "1.5", "", "10000", "1" * 5000, "²"])
def test_a_wrong_number_of_workers_is_named(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("TRAIN_WORKERS", text)
    with pytest.raises(InputError, match="TRAIN_WORKERS: should be a whole number"):
        count_workers()


@pytest.mark.parametrize(
    ("entry", "per_parameter"),
    [
        ({"class_name": "SGD"}, 0),
        ({"class_name": "SGD", "momentum": 0.9}, 1),
        ({"class_name": "Adam"}, 2),
    ],
)
def test_a_run_tells_what_trained(entry: dict[str, Any], per_parameter: int) -> None:
    run = small_training(optimizer(**entry), train={"epochs": 1}).run
    n_parameters = 36 * 8 + 8 + 8 * 4 + 4
    assert (run.n_parameters, run.n_state) == (n_parameters, per_parameter * n_parameters)
    assert run.optimizer.items() >= entry.items() - {("class_name", run.class_name)}
    assert "learning_rate" not in run.optimizer


def test_a_convolutional_network_trains() -> None:
    trained = small_training(
        optimizer(class_name="Adam", learning_rate=0.01), model={"name": "cnn"}
    )
    assert {row.outcome for row in trained.trials} == {"completed"}
    first, second = trained.epochs[:2]
    assert second.train_loss < first.train_loss


@pytest.mark.thorough
def test_another_process_with_more_workers_writes_the_same_bytes(tmp_path: Path) -> None:
    entry = optimizer(class_name="Adam", learning_rate=0.01)
    train = {"jit_compile": True}
    params = small_params({"it": entry}, train=train)
    TRAIN_FILE.write(tmp_path / PROCESSED, TRAIN)
    VALIDATION_FILE.write(tmp_path / PROCESSED, VALIDATION)
    DATASET_FILE.write(tmp_path / PROCESSED, DATASET)
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params.model_dump(mode="json")))
    subprocess.run(
        [sys.executable, "-m", "stages.train", "it"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(PROJECT), "TRAIN_WORKERS": "2"},
        check=True,
    )
    write_all(tmp_path / "here", small_training(entry, train=train))
    there = contents(tmp_path / RUNS / "it", ".") | contents(tmp_path / ALL_WEIGHTS / "it", ".")
    del there[DIGESTS.name]
    assert contents(tmp_path / "here", ".") == there
