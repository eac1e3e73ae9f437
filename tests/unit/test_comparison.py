"""From run folders to the numbers that metrics.json, evaluation and plots hold."""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from stages.common import artifacts
from stages.common.console import InputError
from stages.common.params import Optimizer
from stages.evaluate.comparison import Evaluation, evaluate, remove_stale_runs
from tests.examples import (
    CLASS_NAMES,
    DATASET,
    SMALL,
    TEST,
    optimizer,
    small_params,
    small_sweep,
    write_sweep,
)

SEEDS = SMALL["confirmation"]["seeds"]
DIVERGING = optimizer(class_name="SGD", learning_rate=1e30)
OPTIMIZERS = {
    "diverging": DIVERGING,
    "slow": optimizer(class_name="SGD", learning_rate=1e-6),
    "quick": optimizer(class_name="Adam", learning_rate=0.01),
}


@dataclass(frozen=True)
class Compared:
    """Trained runs and what evaluate made of them."""

    runs: Path
    evaluation: Evaluation


def compare(runs: Path, optimizers: dict[str, Optimizer]) -> Evaluation:
    return evaluate(small_params(optimizers), DATASET, TEST, runs)


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> Compared:
    runs = tmp_path_factory.mktemp("runs")
    for name, entry in OPTIMIZERS.items():
        write_sweep(runs / name, small_sweep(entry))
    shutil.copytree(runs / "quick", runs / "forgotten")
    return Compared(runs, compare(runs, OPTIMIZERS))


def test_only_the_optimizers_of_the_parameters_are_in_a_result(compared: Compared) -> None:
    result = compared.evaluation
    assert result.comparison.optimizers.keys() == OPTIMIZERS.keys()
    assert {row.optimizer for row in result.accuracies} == OPTIMIZERS.keys()
    for rows in (result.scores, result.curves, result.confusion):
        assert {row.optimizer for row in rows} == {"slow", "quick"}


def test_the_best_stands_first_and_the_diverged_one_last(compared: Compared) -> None:
    comparison = compared.evaluation.comparison
    assert comparison.best == "quick"
    assert list(comparison.optimizers) == ["quick", "slow", "diverging"]
    assert [row.optimizer for row in compared.evaluation.accuracies] == list(comparison.optimizers)


def test_a_standing_is_the_mean_of_its_scores(compared: Compared) -> None:
    standing = compared.evaluation.comparison.optimizers["quick"]
    scores = [row for row in compared.evaluation.scores if row.optimizer == "quick"]
    trials = artifacts.read_trials(compared.runs / "quick")[-len(SEEDS) :]
    assert [row.seed for row in scores] == SEEDS
    assert (standing.n_trials, standing.n_diverged, standing.learning_rate) == (2, 0, 0.01)
    assert standing.test_accuracy.mean == np.mean([row.test_accuracy for row in scores])
    assert standing.test_loss.mean == np.mean([row.test_loss for row in scores])
    assert standing.validation_accuracy.mean == np.mean([row.validation_accuracy for row in trials])


def test_a_diverged_optimizer_is_counted_and_has_no_numbers(compared: Compared) -> None:
    standing = compared.evaluation.comparison.optimizers["diverging"]
    assert (standing.n_trials, standing.n_diverged) == (2, 2)
    unknown = artifacts.Estimate(None, None, None, None)
    assert standing.test_accuracy == standing.test_loss == standing.validation_accuracy == unknown


def test_confusion_is_the_share_of_each_class(compared: Compared) -> None:
    cells = [cell for cell in compared.evaluation.confusion if cell.optimizer == "quick"]
    shares = {(cell.actual, cell.predicted): cell.share for cell in cells}
    assert len(shares) == len(CLASS_NAMES) ** 2
    for actual in CLASS_NAMES:
        assert sum(shares[actual, predicted] for predicted in CLASS_NAMES) == pytest.approx(1)
    n_images = np.bincount(TEST.labels)
    right = sum(n * shares[name, name] for n, name in zip(n_images, CLASS_NAMES, strict=True))
    accuracy = compared.evaluation.comparison.optimizers["quick"].test_accuracy.mean
    assert right / len(TEST.labels) == pytest.approx(accuracy)


def test_a_curve_is_the_mean_of_the_trials_curves(compared: Compared) -> None:
    points = [point for point in compared.evaluation.curves if point.optimizer == "quick"]
    rows = artifacts.read_epochs(compared.runs / "quick")
    epochs = [row for row in rows if row.phase == "confirmation"]
    assert [point.epoch for point in points] == [1, 2]
    for point in points:
        trials = [row for row in epochs if row.epoch == point.epoch]
        assert [row.seed for row in trials] == SEEDS
        for score in ("train_loss", "train_accuracy", "validation_loss", "validation_accuracy"):
            assert getattr(point, score) == np.mean([getattr(row, score) for row in trials])


def test_all_diverged_leaves_no_best_and_no_nan(compared: Compared, tmp_path: Path) -> None:
    result = compare(compared.runs, {"diverging": DIVERGING})
    metrics = tmp_path / "metrics.json"
    artifacts.write_metrics(result.comparison, metrics)
    artifacts.write_comparison(result.comparison, tmp_path)
    artifacts.write_accuracy_points(result.accuracies, tmp_path)
    artifacts.write_curve_points(result.curves, tmp_path)
    artifacts.write_confusion(result.confusion, tmp_path)
    written = json.loads(metrics.read_text())
    assert (written["best"], written["verdict"]) == (None, "Undecided: every trial diverged")
    assert written["optimizers"]["diverging"] == {
        "test_accuracy": None,
        "test_accuracy_low": None,
        "test_accuracy_high": None,
        "configured_test_accuracy": None,
        "learning_rate": 1e30,
        "n_diverged": 2,
    }
    assert artifacts.read_comparison(tmp_path) == result.comparison
    assert [path.name for path in tmp_path.iterdir() if "nan" in path.read_text().lower()] == []


def test_a_run_that_is_missing_is_told(compared: Compared) -> None:
    with pytest.raises(InputError, match="never_trained"):
        compare(compared.runs, OPTIMIZERS | {"never_trained": DIVERGING})


def test_forgotten_runs_alone_are_removed(tmp_path: Path) -> None:
    for name in ("sgd", "adam"):
        artifacts.write_trials(tmp_path / name, [])
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").touch()
    (tmp_path / ".gitignore").touch()
    remove_stale_runs(tmp_path, ["sgd"])
    assert sorted(path.name for path in tmp_path.iterdir()) == [".gitignore", "mine", "sgd"]
    assert (tmp_path / "mine" / "notes.txt").exists()
