"""Stages whose trials are all finished: the same bytes without TensorFlow."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from stages.common import data as data_files
from stages.common.data import PROCESSED
from stages.common.params import Params
from stages.common.runs import EPOCHS, RUN, TRIALS, WEIGHTS, Failed
from stages.engine import environment
from stages.engine.environment import SCHEDULER
from stages.engine.workers import open_threads
from stages.train import finished
from stages.train.finished import Trained, find, identify, keep
from stages.train.tuning import count_together, train
from tests.conftest import PROJECT, contents
from tests.examples import DATA, DATASET, TRAIN, VALIDATION, small_training
from tests.parameters import optimizer, small_params

KEY = "5" * 64
SGD = optimizer(class_name="SGD", learning_rate=0.05)
ADAM = optimizer(class_name="Adam", learning_rate=0.01)
GRID = {"learning_rate_factors": [0.1, 1.0], "n_settings": 3, "seeds": [91], "final_seeds": [93]}


def files(trained: Trained) -> list[bytes | None]:
    return [
        TRIALS.encode(trained.trials),
        EPOCHS.encode(trained.epochs),
        RUN.encode(trained.run),
        WEIGHTS.encode(trained.weights),
        trained.model,
    ]


def test_what_is_found_is_what_was_written(tmp_path: Path) -> None:
    trained = small_training(ADAM, tmp_path, tuning=GRID)
    assert find(tmp_path, KEY) is None
    keep(tmp_path, KEY, trained)
    found = find(tmp_path, KEY)
    assert found is not None
    assert files(found) == files(trained)
    assert found.made_of == trained.made_of
    assert find(tmp_path, "6" * 64) is None


def test_an_optimizer_that_always_diverges_is_found_without_a_network(tmp_path: Path) -> None:
    trained = small_training(optimizer(class_name="SGD", learning_rate=1e30), tmp_path)
    keep(tmp_path, KEY, trained)
    found = find(tmp_path, KEY)
    assert found is not None
    assert files(found) == files(trained)
    assert found.model is None


def test_what_the_store_lost_is_not_found(tmp_path: Path) -> None:
    keep(tmp_path, KEY, small_training(SGD, tmp_path))
    paths = sorted(tmp_path.glob("*/*.npz"))
    assert len(paths) == 1 + 10 + 1
    for path in paths:
        content = path.read_bytes()
        path.unlink()
        assert find(tmp_path, KEY) is None
        path.write_bytes(content[:-1] + b"!")
        assert find(tmp_path, KEY) is None
        path.write_bytes(content)
    assert find(tmp_path, KEY) is not None


def test_a_failed_trial_is_tried_again(tmp_path: Path) -> None:
    trained = small_training(SGD, tmp_path)
    row = trained.trials[0]
    failed = Failed(
        phase=row.phase,
        setting=row.setting,
        learning_rate=row.learning_rate,
        seed=row.seed,
        n_epochs=0,
        n_steps=0,
        reason="no room",
    )
    keep(tmp_path, KEY, replace(trained, trials=(failed, *trained.trials[1:])))
    assert find(tmp_path, KEY) is None


def key_of(params: Params, dataset: Any = DATASET, digest: str = "") -> str:
    key = identify("it", params, dataset, digest)
    assert key is not None
    return key


def test_whatever_the_outputs_depend_on_is_in_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    params = small_params({"it": SGD, "other": ADAM})
    keys = {
        key_of(params),
        key_of(small_params({"it": ADAM, "other": ADAM})),
        key_of(small_params({"it": SGD}, train={"epochs": 7})),
        key_of(small_params({"it": SGD}, tuning={"final_seeds": [7]})),
        key_of(small_params({"it": SGD}, model={"hidden_units": [3]})),
        key_of(small_params({"it": SGD}, confirmation={"first_seed": 7})),
        key_of(params, replace(DATASET, n_train=7)),
        key_of(params, digest="another"),
    }
    monkeypatch.setenv("XLA_FLAGS", "--xla_cpu_enable_fast_math=true")
    keys.add(key_of(params))
    monkeypatch.setattr(finished, "_digest_stage", lambda: "another")
    keys.add(key_of(params))
    assert len(keys) == 10


def test_other_optimizers_and_what_the_race_asks_are_not_in_the_key() -> None:
    alone = key_of(small_params({"it": SGD}))
    assert alone == key_of(small_params({"it": SGD, "other": ADAM}))
    assert alone == key_of(small_params({"it": SGD}, comparison={"margin": 0.3}))
    assert alone == key_of(small_params({"it": SGD}, confirmation={"at_most": 77}))


@pytest.mark.parametrize("why", ["cluster", "gpu", "build"])
def test_where_only_tensorflow_can_tell_there_is_no_key(
    monkeypatch: pytest.MonkeyPatch, why: str
) -> None:
    if why == "cluster":
        monkeypatch.setenv(SCHEDULER, "tcp://127.0.0.1:8786")
    elif why == "gpu":
        monkeypatch.setattr(environment, "has_nvidia_gpu", lambda: True)
    else:
        monkeypatch.setattr(environment, "_is_installed", lambda _: False)
    assert identify("it", small_params({"it": SGD}), DATASET, "") is None


def test_together_is_as_alone(tmp_path: Path) -> None:
    entries = {"sgd": SGD, "adam": ADAM, "wild": optimizer(class_name="SGD", learning_rate=1e30)}
    params = small_params(entries, tuning=GRID)
    with open_threads(2) as workers:
        together = train(
            list(entries), params, DATASET, DATA, store_folder=tmp_path, workers=workers
        )
    for name, entry in entries.items():
        alone = small_training(entry, tuning=GRID)
        assert files(together[name]) == files(alone)


@pytest.mark.parametrize(("n_hidden", "n"), [(8, 8), (50_000, 2), (100_000, 1), (900_000, 1)])
def test_large_networks_are_trained_for_fewer_optimizers_at_once(n_hidden: int, n: int) -> None:
    params = small_params({"it": SGD}, model={"hidden_units": [n_hidden]})
    assert count_together(params, DATASET) == n


# Runs the stage `train`, and prints whether it imported TensorFlow.
STAGE = """
import runpy, sys
runpy.run_module("stages.train", run_name="__main__", alter_sys=True)
print("tensorflow" in sys.modules)
"""


def run_stage(folder: Path, *arguments: str) -> tuple[str, bool]:
    """What the stage says, and whether it imported TensorFlow."""
    done = subprocess.run(
        [sys.executable, "-c", STAGE, *arguments],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": f"{PROJECT}:{folder}", "DVC_STAGE": "train@sgd"},
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stderr, done.stdout == "True\n"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder in which the stage can run, for the optimizers `sgd` and `adam`."""
    data_files.TRAIN.write(tmp_path / PROCESSED, TRAIN)
    data_files.VALIDATION.write(tmp_path / PROCESSED, VALIDATION)
    data_files.DATASET.write(tmp_path / PROCESSED, DATASET)
    write_params(tmp_path, small_params({"sgd": SGD, "adam": ADAM}))
    (tmp_path / "dvc.lock").write_text("schema: '2.0'\nstages: {}\n")
    return tmp_path


def write_params(folder: Path, params: Params) -> None:
    text = yaml.safe_dump(params.model_dump(mode="json"), sort_keys=False)
    (folder / "params.yaml").write_text(text)


@pytest.mark.thorough
def test_a_stage_after_the_first_imports_no_tensorflow_and_writes_the_same_bytes(
    project: Path,
) -> None:
    told, imported = run_stage(project)
    assert "train sgd and 1 more: 22 of 22 trials" in told
    assert imported
    first = contents(project, "runs") | contents(project, "weights")
    assert run_stage(project) == ("train sgd: all 11 trials are finished\n", False)
    assert contents(project, "runs") | contents(project, "weights") == first
    assert run_stage(project, "adam") == ("train adam: all 11 trials are finished\n", False)
    with_adam = contents(project, "runs/adam") | contents(project, "weights/adam")
    for path in (project / ".cache/trials").glob("*/*.npz"):
        path.unlink()
    told, imported = run_stage(project, "adam")
    assert "train adam: 11 of 11 trials" in told
    assert imported
    assert contents(project, "runs/adam") | contents(project, "weights/adam") == with_adam


@pytest.mark.thorough
def test_another_optimizer_s_fault_does_not_end_this_one_s_stage(project: Path) -> None:
    (project / "faulty.py").write_text(
        "import keras\n"
        "class Faulty(keras.optimizers.SGD):\n"
        "    def update_step(self, gradient, variable, rate):\n"
        "        if variable.shape == (36, 8):\n"
        "            raise RuntimeError('broken')\n"
        "        super().update_step(gradient, variable, rate)\n"
    )
    faulty = optimizer(class_name="faulty:Faulty")
    write_params(project, small_params({"sgd": SGD, "faulty": faulty}))
    told, _ = run_stage(project)
    assert "train sgd and 1 more" in told
    assert "train sgd: 11 of 11 trials" in told
    assert "broken" not in told
    assert (project / "runs/sgd/model.keras").exists()
    assert not (project / "runs/faulty").exists()
