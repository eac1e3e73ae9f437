"""All trials of one optimizer, and the same bytes from every process."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
import yaml

from stages.common import artifacts
from stages.common.artifacts import TrialRow
from stages.common.console import InputError
from stages.train import work as work_module
from stages.train.loop import Slot
from stages.train.models import save_model
from stages.train.sweep import (
    choose_factor,
    plan_confirmation,
    plan_tuning,
)
from stages.train.trial import Trial, TrialResult
from stages.train.workers import count_workers
from tests.conftest import PROJECT
from tests.examples import (
    COMMITTED,
    DATASET,
    TRAIN,
    VALIDATION,
    bits,
    optimizer,
    small_params,
    small_sweep,
    write_sweep,
)

keras_warns = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
DIVERGING = optimizer(class_name="SGD", learning_rate=1e30)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_the_plan_tunes_on_a_grid_and_confirms_with_fresh_seeds() -> None:
    tuning = plan_tuning(COMMITTED.tuning)
    assert len(set(tuning)) == len(tuning) == 15
    confirmation = plan_confirmation(3.16, COMMITTED.confirmation.seeds)
    assert tuple(trial.seed for trial in confirmation) == COMMITTED.confirmation.seeds
    assert {trial.learning_rate_factor for trial in confirmation} == {3.16}


def row(factor: float, accuracy: float | None, loss: float = 1.0) -> TrialRow:
    status, scores = ("completed", accuracy) if accuracy is not None else ("diverged", None)
    of_validation = None if accuracy is None else loss
    return TrialRow(  # type: ignore[arg-type]
        "tuning", factor, factor, 1, status, 1, 1, None, None, of_validation, scores, None, None
    )


@pytest.mark.parametrize(
    ("rows", "chosen"),
    [
        ([row(0.1, 0.5), row(1.0, 0.7), row(10.0, 0.6)], 1.0),
        ([row(0.1, 0.5), row(1.0, 0.9), row(0.1, 0.9), row(1.0, 0.4)], 0.1),
        ([row(0.1, 0.5), row(1.0, 0.9), row(1.0, None)], 0.1),
        ([row(0.1, 0.5, loss=2.0), row(1.0, 0.5, loss=1.0)], 1.0),
        ([row(0.1, 0.5), row(1.0, 0.5)], 0.1),
        ([row(0.1, None), row(1.0, None)], 0.1),
    ],
    ids=["best", "mean", "a diverged trial loses", "loss decides", "first", "all diverged"],
)
def test_tuning_chooses_the_best_mean_on_validation(rows: list[TrialRow], chosen: float) -> None:
    assert choose_factor(rows) == chosen


GRID = {"learning_rate_factors": [0.01, 1.0, 3.0], "seeds": [91, 92]}


def test_a_sweep_tunes_then_confirms_the_chosen_rate_and_the_configured_one() -> None:
    entry = optimizer(class_name="SGD", learning_rate=0.01)
    result = small_sweep(entry, tuning=GRID, confirmation={"seeds": [5, 6]})
    assert result.run.tuned_learning_rate_factor == 3.0
    told = [(row.phase, row.learning_rate_factor, row.seed) for row in result.trials]
    tuning = [("tuning", factor, seed) for factor in (0.01, 1.0, 3.0) for seed in (91, 92)]
    confirmation = [("confirmation", factor, seed) for factor in (1.0, 3.0) for seed in (5, 6)]
    assert told == [*tuning, *confirmation]
    assert result.weights.seeds.tolist() == [5, 6, 5, 6]
    tuned = [row.validation_accuracy for row in result.trials[-2:]]
    kept = [stacked[2 + int(np.argmax(tuned))] for stacked in result.weights.arrays]
    assert bits(result.model.get_weights()) == bits(kept)


def test_a_factor_acts_as_that_learning_rate_configured() -> None:
    factor = {"learning_rate_factors": [0.5], "seeds": [91]}
    scaled = small_sweep(optimizer(class_name="Adam", learning_rate=0.5), tuning=factor)
    plain = small_sweep(optimizer(class_name="Adam", learning_rate=0.25))
    assert bits(array[2:] for array in scaled.weights.arrays) == bits(plain.weights.arrays)


@keras_warns
@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_the_number_of_workers_changes_no_byte(tmp_path: Path, dropout: float) -> None:
    entry = optimizer(class_name="Nadam", learning_rate=0.01)
    for n_workers in (1, 3):
        result = small_sweep(
            entry, n_workers=n_workers, tuning=GRID, model={"dropout": dropout}, train={"epochs": 3}
        )
        write_sweep(tmp_path / str(n_workers), result)
        save_model(result.model, tmp_path / str(n_workers) / "model.keras")
    assert contents(tmp_path / "1") == contents(tmp_path / "3")


def test_optimizers_side_by_side_share_nothing() -> None:
    entries = [optimizer(class_name=name, learning_rate=0.01) for name in ("Adam", "RMSprop")]
    one_way = [small_sweep(entry) for entry in entries]
    other_way = [small_sweep(entry) for entry in reversed(entries)][::-1]
    side_by_side = joblib.Parallel(2, "threading")(joblib.delayed(small_sweep)(e) for e in entries)
    for first, second, third in zip(one_way, other_way, side_by_side, strict=True):
        assert first.epochs == second.epochs == third.epochs
        assert (
            bits(first.weights.arrays) == bits(second.weights.arrays) == bits(third.weights.arrays)
        )


def test_only_what_the_store_does_not_hold_is_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained: list[int] = []
    real = work_module.run_trial

    def counted(slot: Slot, trial: Trial, **settings: Any) -> TrialResult:
        trained.append(trial.seed)
        return real(slot, trial, **settings)

    monkeypatch.setattr(work_module, "run_trial", counted)
    entry = optimizer(class_name="SGD")
    ten = list(range(1, 11))
    fresh = small_sweep(entry, tmp_path, confirmation={"seeds": ten})
    assert sorted(trained) == [*ten, 91]
    trained.clear()
    again = small_sweep(entry, tmp_path, confirmation={"seeds": ten})
    assert trained == []
    assert again.trials == fresh.trials
    assert again.epochs == fresh.epochs
    assert bits(again.weights.arrays) == bits(fresh.weights.arrays)
    small_sweep(entry, tmp_path, confirmation={"seeds": [*ten, 11]})
    assert trained == [11]


@pytest.mark.parametrize("text", ["0", "-1", "two", "1.5", ""])
def test_a_wrong_number_of_workers_is_named(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("TRAIN_WORKERS", text)
    with pytest.raises(InputError, match="TRAIN_WORKERS: should be a positive whole number"):
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
    run = small_sweep(optimizer(**entry), train={"epochs": 1}, confirmation={"seeds": [1]}).run
    n_parameters = 36 * 8 + 8 + 8 * 4 + 4
    assert (run.n_parameters, run.n_state) == (n_parameters, per_parameter * n_parameters)
    assert run.optimizer.items() >= entry.items() - {("class_name", run.class_name)}
    assert "learning_rate" not in run.optimizer


def test_a_convolutional_network_trains() -> None:
    result = small_sweep(optimizer(class_name="Adam", learning_rate=0.01), model={"name": "cnn"})
    assert {row.status for row in result.trials} == {"completed"}
    first, second = result.epochs[:2]
    assert (second.train_loss or 0.0) < (first.train_loss or 0.0)


@keras_warns
def test_a_sweep_that_diverges_altogether_still_writes_its_files(tmp_path: Path) -> None:
    result = small_sweep(DIVERGING)
    assert {row.status for row in result.trials} == {"diverged"}
    assert result.model is None
    write_sweep(tmp_path, result)
    weights = artifacts.read_weights(tmp_path)
    assert (weights.seeds.tolist(), weights.arrays) == ([], ())
    assert artifacts.read_trials(tmp_path) == list(result.trials)


def test_every_process_writes_the_same_bytes(tmp_path: Path) -> None:
    params = small_params(
        {"it": optimizer(class_name="Adam", learning_rate=0.01)},
        model={"dropout": 0.5},
        train={"jit_compile": "auto"},
    )
    for folder in (tmp_path / "one", tmp_path / "other"):
        artifacts.write_examples(folder / artifacts.TRAIN, TRAIN)
        artifacts.write_examples(folder / artifacts.VALIDATION, VALIDATION)
        artifacts.write_dataset(DATASET, folder / artifacts.DATASET)
        (folder / "params.yaml").write_text(yaml.safe_dump(params.model_dump(mode="json")))
        subprocess.run(
            [sys.executable, "-m", "stages.train", "it"],
            cwd=folder,
            env=os.environ | {"PYTHONPATH": str(PROJECT)},
            check=True,
        )
    one, other = (contents(tmp_path / name / "runs" / "it") for name in ("one", "other"))
    assert "model.keras" in one
    assert one == other
