"""From run folders to the numbers that metrics.json, evaluation and plots hold."""

import json
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from stages.common import artifacts
from stages.common.artifacts import BudgetPoint, TuningPoint
from stages.common.console import InputError
from stages.common.params import Optimizer, Params
from stages.evaluate.comparison import Evaluation, _tuning_points, evaluate, remove_stale_runs
from stages.evaluate.comparison import compare as compare_outcomes
from stages.evaluate.outcomes import Group
from tests.examples import (
    CLASS_NAMES,
    DATASET,
    SMALL,
    TEST,
    group,
    optimizer,
    outcome,
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
    for rows in (result.accuracies, result.tuning):
        assert {row.optimizer for row in rows} == OPTIMIZERS.keys()
    for rows in (result.scores, result.curves, result.confusion, result.budget):
        assert {row.optimizer for row in rows} == {"slow", "quick"}


def test_the_leader_stands_first_and_the_diverged_one_last(compared: Compared) -> None:
    comparison = compared.evaluation.comparison
    verdict = (
        "Undecided: quick leads, but slow and diverging (diverged in 2 of 2) may be as good. "
        "With the configured rates quick leads too."
    )
    assert comparison.best is None  # two seeds are few
    assert comparison.verdict == verdict
    assert list(comparison.optimizers) == ["quick", "slow", "diverging"]
    assert [row.optimizer for row in compared.evaluation.accuracies] == list(comparison.optimizers)


def test_a_standing_is_the_mean_of_its_scores(compared: Compared) -> None:
    tuned = compared.evaluation.comparison.optimizers["quick"].tuned
    scores = [row for row in compared.evaluation.scores if row.optimizer == "quick"]
    trials = artifacts.read_trials(compared.runs / "quick")[-len(SEEDS) :]
    assert [row.seed for row in scores] == SEEDS
    assert (tuned.n_trials, tuned.n_diverged, tuned.learning_rate) == (2, 0, 0.01)
    assert tuned.test_accuracy.mean == np.mean([row.test_accuracy for row in scores])
    assert tuned.test_loss.mean == np.mean([row.test_loss for row in scores])
    assert tuned.validation_accuracy.mean == np.mean([row.validation_accuracy for row in trials])
    best = np.mean([row.best_validation_accuracy for row in trials])
    assert tuned.best_validation_accuracy.mean == best


def test_a_diverged_optimizer_is_counted_and_has_no_numbers(compared: Compared) -> None:
    standing = compared.evaluation.comparison.optimizers["diverging"]
    tuned = standing.tuned
    assert (tuned.n_trials, tuned.n_diverged, standing.criteria.diverged_share) == (2, 2, 1)
    unknown = artifacts.Estimate(None, None, None, None)
    assert tuned.test_accuracy == tuned.test_loss == tuned.validation_accuracy == unknown


def test_confusion_is_the_share_of_each_class(compared: Compared) -> None:
    cells = [cell for cell in compared.evaluation.confusion if cell.optimizer == "quick"]
    shares = {(cell.actual, cell.predicted): cell.share for cell in cells}
    assert len(shares) == len(CLASS_NAMES) ** 2
    for actual in CLASS_NAMES:
        assert sum(shares[actual, predicted] for predicted in CLASS_NAMES) == pytest.approx(1)
    n_images = np.bincount(TEST.labels)
    right = sum(n * shares[name, name] for n, name in zip(n_images, CLASS_NAMES, strict=True))
    accuracy = compared.evaluation.comparison.optimizers["quick"].tuned.test_accuracy.mean
    assert right / len(TEST.labels) == pytest.approx(accuracy)


def test_a_curve_is_the_mean_of_the_trials_curves_and_their_range(compared: Compared) -> None:
    points = [point for point in compared.evaluation.curves if point.optimizer == "quick"]
    rows = artifacts.read_epochs(compared.runs / "quick")
    epochs = [row for row in rows if row.phase == "confirmation"]
    assert [(point.split, point.epoch) for point in points] == [
        ("train", 1), ("train", 2), ("validation", 1), ("validation", 2),
    ]  # fmt: skip
    for point in points:
        trials = [row for row in epochs if row.epoch == point.epoch]
        assert [row.seed for row in trials] == SEEDS
        accuracies = [getattr(row, f"{point.split}_accuracy") for row in trials]
        assert point.loss == np.mean([getattr(row, f"{point.split}_loss") for row in trials])
        assert point.accuracy == np.mean(accuracies)
        assert (point.accuracy_low, point.accuracy_high) == (min(accuracies), max(accuracies))


def test_all_diverged_leaves_no_best_and_no_nan(compared: Compared, tmp_path: Path) -> None:
    result = compare(compared.runs, {"diverging": DIVERGING})
    metrics = tmp_path / "metrics.json"
    artifacts.write_metrics(result.comparison, metrics)
    artifacts.write_comparison(result.comparison, tmp_path)
    artifacts.write_accuracy_points(result.accuracies, tmp_path)
    artifacts.write_curve_points(result.curves, tmp_path)
    artifacts.write_confusion(result.confusion, tmp_path)
    artifacts.write_tuning_points(result.tuning, tmp_path)
    artifacts.write_budget_points(result.budget, tmp_path)
    artifacts.write_pairs(result.comparison.pairs, tmp_path)
    written = json.loads(metrics.read_text())
    assert (written["best"], written["verdict"]) == (None, "Undecided: every trial diverged.")
    assert written["warnings"] == len(result.comparison.warnings) > 0
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


def test_every_pair_is_labelled_in_the_order_of_the_ranking(compared: Compared) -> None:
    pairs = compared.evaluation.comparison.pairs
    assert [(pair.first, pair.second, pair.label, pair.n_seeds) for pair in pairs] == [
        ("quick", "slow", "undecided", 2),
        ("quick", "diverging", "undecided", 0),
        ("slow", "diverging", "undecided", 0),
    ]


@pytest.mark.parametrize(
    ("n_seeds", "label", "p_adjusted"),
    [(2, "undecided", 1 / 3), (3, "undecided", 0.1), (4, "better", 2 / 70)],
)
def test_a_rival_that_diverged_is_behind_where_that_is_no_chance(
    n_seeds: int, label: str, p_adjusted: float
) -> None:
    outcomes = {
        "good": outcome(group([0.9] * n_seeds)),
        "lost": outcome(group([], n_diverged=n_seeds)),
    }
    (pair,) = compare_outcomes(small_params(OPTIMIZERS), DATASET, outcomes).pairs
    assert (pair.first, pair.label, pair.mean_difference) == ("good", label, None)
    assert pair.p_adjusted == pytest.approx(p_adjusted)


def test_every_trial_is_counted_once(compared: Compared) -> None:
    assert compared.evaluation.comparison.n_trials == 3 * (1 + len(SEEDS))


def test_what_is_wrong_is_told(compared: Compared) -> None:
    warnings = compared.evaluation.comparison.warnings
    found = {(finding.check, finding.optimizers) for finding in warnings}
    assert {("divergence", ("diverging",)), ("guessing", ("slow",))} <= found


def test_the_target_is_a_point_below_the_leader_or_the_one_that_is_set(compared: Compared) -> None:
    comparison = compared.evaluation.comparison
    leader = comparison.optimizers["quick"].tuned.validation_accuracy.mean
    assert leader is not None
    assert comparison.target_accuracy == leader - 0.01
    content = small_params(OPTIMIZERS).model_dump(mode="json")
    content["comparison"]["target_accuracy"] = 0.123
    params = Params.model_validate_json(json.dumps(content))
    assert evaluate(params, DATASET, TEST, compared.runs).comparison.target_accuracy == 0.123


@pytest.mark.parametrize(
    ("tuned", "has_budget"),
    [(group([0.01, 0.01]), True), (group([], n_diverged=2), False)],
    ids=["nothing-learned", "all-diverged"],
)
def test_without_a_leader_to_follow_there_is_no_target(tuned: Group, has_budget: bool) -> None:
    outcomes = {"a": outcome(tuned), "b": outcome(tuned)}
    comparison = compare_outcomes(small_params(OPTIMIZERS), DATASET, outcomes)
    assert comparison.target_accuracy is None
    assert bool(comparison.budget) == has_budget


def test_the_grid_of_each_optimizer_is_plotted_with_the_choice(compared: Compared) -> None:
    (trial, *_) = artifacts.read_trials(compared.runs / "quick")
    (point,) = [row for row in compared.evaluation.tuning if row.optimizer == "quick"]
    assert point == TuningPoint("quick", 1.0, 0.01, trial.validation_accuracy, 1, 0, "both")


@pytest.mark.parametrize(
    ("tuned_factor", "choices"),
    [
        (0.1, ["tuned", "configured", "neither"]),
        (1.0, ["neither", "both", "neither"]),
        (10.0, ["neither", "configured", "tuned"]),
    ],
)
def test_the_plot_of_tuning_says_what_was_chosen(tuned_factor: float, choices: list[str]) -> None:
    trained = outcome(group([0.9], factor=tuned_factor), group([0.8]))
    points = _tuning_points("it", trained)
    assert [point.learning_rate_factor for point in points] == [0.1, 1.0, 10.0]
    assert [point.choice for point in points] == choices


def test_a_budget_of_the_whole_grid_reaches_its_best(compared: Compared) -> None:
    tuned = artifacts.read_trials(compared.runs / "quick")[0].validation_accuracy
    points = [point for point in compared.evaluation.budget if point.optimizer == "quick"]
    assert points == [BudgetPoint("quick", 1, tuned)]


def test_runs_of_different_versions_are_not_compared() -> None:
    one = outcome(group([0.9, 0.8]))
    other = replace(one, run=replace(one.run, versions={"keras": "2.0"}))
    with pytest.raises(InputError, match=r"runs/b was trained with \{'keras': '2\.0'\}"):
        compare_outcomes(small_params(OPTIMIZERS), DATASET, {"a": one, "b": other})


@pytest.mark.parametrize(
    ("accuracies", "best", "verdict"),
    [
        ([0.8, 0.81], "a", "Best is a: better than b."),
        ([0.9, 0.901], "a", "Best is a: tied with b (within 0.002)."),
        ([0.85, 0.93], None, "Undecided: a leads, but b may be as good."),
    ],
)
def test_the_best_is_named_only_where_the_verdict_is_decided(
    accuracies: list[float], best: str | None, verdict: str
) -> None:
    others = [accuracy for accuracy in accuracies for _ in range(5)]
    outcomes = {"a": outcome(group([0.9, 0.901] * 5)), "b": outcome(group(others))}
    many_images = replace(DATASET, test_counts=(2500,) * 4)
    comparison = compare_outcomes(small_params(OPTIMIZERS), many_images, outcomes)
    assert comparison.best == best
    assert comparison.verdict.startswith(verdict)


def test_weights_of_other_trials_are_refused(compared: Compared, tmp_path: Path) -> None:
    shutil.copytree(compared.runs / "quick", tmp_path / "quick")
    weights = artifacts.read_weights(tmp_path / "quick")
    artifacts.write_weights(tmp_path / "quick", replace(weights, seeds=weights.seeds + 1))
    with pytest.raises(InputError, match=r"quick: weights\.npz and trials\.csv differ"):
        compare(tmp_path, {"quick": OPTIMIZERS["quick"]})


def test_a_tuned_rate_that_was_never_tried_is_refused(compared: Compared, tmp_path: Path) -> None:
    shutil.copytree(compared.runs / "quick", tmp_path / "quick")
    run = artifacts.read_run(tmp_path / "quick")
    artifacts.write_run(tmp_path / "quick", replace(run, tuned_learning_rate_factor=3.0))
    with pytest.raises(InputError, match=r"quick: run\.json and trials\.csv differ"):
        compare(tmp_path, {"quick": OPTIMIZERS["quick"]})


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
