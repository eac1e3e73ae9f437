"""All trials of one optimizer, and the same bytes from every process."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from stages.common import artifacts
from stages.train.models import save_model
from stages.train.sweep import plan, sweep
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


def test_the_plan_confirms_with_each_seed_once() -> None:
    trials = plan(COMMITTED.confirmation)
    assert tuple(trial.seed for trial in trials) == COMMITTED.confirmation.seeds
    assert {(trial.phase, trial.learning_rate_factor) for trial in trials} == {
        ("confirmation", 1.0)
    }


def test_a_sweep_records_every_trial_and_keeps_the_best_weights() -> None:
    result = small_sweep(optimizer(class_name="Adam"), confirmation={"seeds": [5, 6, 7]})
    assert [(row.seed, row.learning_rate, row.n_steps) for row in result.trials] == [
        (5, 0.1, 10),
        (6, 0.1, 10),
        (7, 0.1, 10),
    ]
    assert [(row.seed, row.epoch) for row in result.epochs] == [
        (seed, epoch) for seed in (5, 6, 7) for epoch in (1, 2)
    ]
    assert result.weights.seeds.tolist() == [5, 6, 7]
    best = int(np.argmax([row.validation_accuracy for row in result.trials]))
    kept = [stacked[best] for stacked in result.weights.arrays]
    assert bits(result.model.get_weights()) == bits(kept)


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
    assert [row.status for row in result.trials] == ["diverged", "diverged"]
    write_sweep(tmp_path, result)
    save_model(result.model, tmp_path / "model.keras")
    weights = artifacts.read_weights(tmp_path)
    assert (weights.seeds.tolist(), weights.arrays) == ([], ())
    assert artifacts.read_trials(tmp_path) == list(result.trials)


@keras_warns
def test_a_fresh_process_writes_the_same_bytes(tmp_path: Path) -> None:
    params = small_params(
        {"it": optimizer(class_name="Adam", learning_rate=0.01)},
        model={"dropout": 0.5},
        train={"jit_compile": "auto"},
    )
    artifacts.write_examples(tmp_path / artifacts.TRAIN, TRAIN)
    artifacts.write_examples(tmp_path / artifacts.VALIDATION, VALIDATION)
    artifacts.write_dataset(DATASET, tmp_path / artifacts.DATASET)
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params.model_dump(mode="json")))
    subprocess.run(
        [sys.executable, "-m", "stages.train", "it"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(PROJECT)},
        check=True,
    )
    here, fresh = tmp_path / "here", tmp_path / "runs" / "it"
    result = sweep("it", params, DATASET, TRAIN, VALIDATION)
    write_sweep(here, result)
    save_model(result.model, here / "model.keras")
    first, second = (
        {path.name: path.read_bytes() for path in folder.iterdir()} for folder in (here, fresh)
    )
    assert first.keys() == second.keys()
    assert [name for name in first if first[name] != second[name]] == []
