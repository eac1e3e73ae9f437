"""From run folders to the numbers that metrics.json, evaluation and plots hold."""

import json
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from stages.common.errors import InputError
from stages.common.params import Optimizer, Params
from stages.common.results import (
    ACCURACIES,
    BUDGET,
    COMPARISON,
    CONFUSION,
    CURVES,
    METRICS,
    PAIRS,
    SCORES,
    TUNING,
    BudgetPoint,
    Estimate,
    Finding,
    OptimizerMetrics,
    TuningPoint,
)
from stages.common.runs import EPOCHS, RUN, TRIALS, WEIGHTS
from stages.evaluate.comparison import (
    Evaluation,
    _tuning_points,
    evaluate,
    remove_stale_runs,
    summarise,
)
from stages.evaluate.comparison import compare as compare_runs
from stages.evaluate.scored import Group, read_run
from tests.examples import (
    CLASS_NAMES,
    DATASET,
    SMALL,
    TEST,
    group,
    optimizer,
    scored_run,
    small_params,
    small_training,
    write_trained,
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
        write_trained(runs / name, small_training(entry))
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
        "Undecided: quick leads, but slow and diverging (failed in 2 of 2) may be as good. "
        "With the configured rates quick leads too."
    )
    assert comparison.best is None  # two seeds are few
    assert comparison.verdict == verdict
    assert list(comparison.optimizers) == ["quick", "slow", "diverging"]
    assert [row.optimizer for row in compared.evaluation.accuracies] == list(comparison.optimizers)


def test_a_result_is_the_mean_of_its_scores(compared: Compared) -> None:
    tuned = compared.evaluation.comparison.optimizers["quick"].tuned
    scores = [row for row in compared.evaluation.scores if row.optimizer == "quick"]
    trials = TRIALS.read(compared.runs / "quick")[-len(SEEDS) :]
    assert [row.seed for row in scores] == SEEDS
    assert (tuned.n_trials, tuned.n_failed, tuned.learning_rate) == (2, 0, 0.01)
    assert tuned.test_accuracy.mean == np.mean([row.test_accuracy for row in scores])
    assert tuned.test_loss.mean == np.mean([row.test_loss for row in scores])
    assert tuned.validation_accuracy.mean == np.mean([row.validation_accuracy for row in trials])
    best = np.mean([row.best_validation_accuracy for row in trials])
    assert tuned.best_validation_accuracy.mean == best


def test_a_diverged_optimizer_is_counted_and_has_no_numbers(compared: Compared) -> None:
    result = compared.evaluation.comparison.optimizers["diverging"]
    tuned = result.tuned
    assert (tuned.n_trials, tuned.n_failed, result.criteria.failed_share) == (2, 2, 1)
    unknown = Estimate(None, None, None, None)
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
    rows = EPOCHS.read(compared.runs / "quick")
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
    METRICS.write(tmp_path, result.metrics)
    COMPARISON.write(tmp_path, result.comparison)
    ACCURACIES.write(tmp_path, result.accuracies)
    CURVES.write(tmp_path, result.curves)
    CONFUSION.write(tmp_path, result.confusion)
    TUNING.write(tmp_path, result.tuning)
    BUDGET.write(tmp_path, result.budget)
    PAIRS.write(tmp_path, result.comparison.pairs)
    SCORES.write(tmp_path, result.scores)
    written = json.loads((tmp_path / METRICS.name).read_text())
    assert (written["best"], written["verdict"]) == (None, "Undecided: every trial failed.")
    assert written["warnings"] == len(result.comparison.warnings) > 0
    assert written["optimizers"]["diverging"] == {
        "test_accuracy": None,
        "test_accuracy_low": None,
        "test_accuracy_high": None,
        "configured_test_accuracy": None,
        "learning_rate": 1e30,
        "n_failed": 2,
    }
    assert COMPARISON.read(tmp_path) == result.comparison
    assert [path.name for path in tmp_path.iterdir() if "nan" in path.read_text().lower()] == []


@pytest.mark.parametrize("best", ["sgd", None])
def test_metrics_tell_the_verdict_and_count_the_warnings(
    compared: Compared, best: str | None
) -> None:
    finding = Finding("edge_of_grid", ("sgd",), "Tuning chose the highest.", "Set a higher one.")
    comparison = replace(
        compared.evaluation.comparison,
        best=best,
        verdict="Best is sgd.",
        warnings=(finding, replace(finding, optimizers=())),
    )
    metrics = summarise(comparison)
    assert (metrics.best, metrics.verdict, metrics.warnings) == (best, "Best is sgd.", 2)


def test_metrics_are_six_rounded_numbers_for_each_optimizer(
    compared: Compared, tmp_path: Path
) -> None:
    result = compared.evaluation.comparison.optimizers["quick"]
    tuned = replace(
        result.tuned,
        learning_rate=0.1,
        n_failed=1,
        test_accuracy=Estimate(0.912345678, 0.9, 0.92, 0.01),
    )
    configured = replace(result.configured, test_accuracy=Estimate(0.8, 0.7, 0.9, 0.1))
    optimizers = {
        "sgd": replace(result, tuned=tuned, configured=configured),
        "adam": replace(result, tuned=configured, configured=tuned),
    }
    METRICS.write(
        tmp_path, summarise(replace(compared.evaluation.comparison, optimizers=optimizers))
    )
    written = json.loads((tmp_path / METRICS.name).read_text())
    assert list(written["optimizers"]) == ["adam", "sgd"]
    assert written["optimizers"]["sgd"] == {
        "test_accuracy": 0.912346,
        "test_accuracy_low": 0.9,
        "test_accuracy_high": 0.92,
        "configured_test_accuracy": 0.8,
        "learning_rate": 0.1,
        "n_failed": 1,
    }


def test_the_metrics_are_those_of_the_comparison(compared: Compared) -> None:
    evaluation = compared.evaluation
    assert evaluation.metrics == summarise(evaluation.comparison)
    assert evaluation.metrics.optimizers["diverging"] == OptimizerMetrics(
        learning_rate=1e30, n_failed=2
    )


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
    runs = {
        "good": scored_run(group([0.9] * n_seeds)),
        "lost": scored_run(group([], n_failed=n_seeds)),
    }
    (pair,) = compare_runs(small_params(OPTIMIZERS), DATASET, runs).pairs
    assert (pair.first, pair.label, pair.mean_difference) == ("good", label, None)
    assert pair.p_adjusted == pytest.approx(p_adjusted)


def test_the_scores_name_setting_rate_and_seed_as_the_trials_do(compared: Compared) -> None:
    rows = [row for row in TRIALS.read(compared.runs / "quick") if row.phase == "confirmation"]
    scores = [row for row in compared.evaluation.scores if row.optimizer == "quick"]
    assert [(row.setting, row.learning_rate, row.seed) for row in scores] == [
        (row.setting, row.learning_rate, row.seed) for row in rows
    ]


def test_a_run_is_read_with_its_trials_in_their_groups(tmp_path: Path) -> None:
    entry = optimizer(class_name="SGD", learning_rate=0.05)
    factors = {"learning_rate_factors": [10.0, 1e31], "seeds": [91]}
    write_trained(tmp_path, small_training(entry, tuning=factors))
    scored = read_run(tmp_path, TEST)
    assert (scored.run.tuned, scored.run.configured) == (0, 2)
    assert [row.outcome for row in scored.tuning] == ["completed", "diverged"]
    for group_, setting, rate in ((scored.tuned, 0, 0.5), (scored.configured, 2, 0.05)):
        assert [(row.phase, row.setting, row.seed) for row in group_.rows] == [
            ("confirmation", setting, seed) for seed in SEEDS
        ]
        assert {row.learning_rate for row in group_.rows} == {rate}
        assert group_.completed == group_.rows
        assert [curve[-1].validation_accuracy for curve in group_.curves] == [
            row.validation_accuracy for row in group_.completed
        ]
    rows = TRIALS.read(tmp_path)
    assert sorted(map(str, scored.trials)) == sorted(map(str, rows))
    assert scored.tuned.sample != scored.configured.sample


def test_every_trial_is_counted_once(compared: Compared) -> None:
    assert compared.evaluation.comparison.n_trials == 3 * (1 + len(SEEDS))


def test_what_is_wrong_is_told(compared: Compared) -> None:
    warnings = compared.evaluation.comparison.warnings
    found = {(finding.check, finding.optimizers) for finding in warnings}
    assert {("failures", ("diverging",)), ("guessing", ("slow",))} <= found


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
    [(group([0.01, 0.01]), True), (group([], n_failed=2), False)],
    ids=["nothing-learned", "all-diverged"],
)
def test_without_a_leader_to_follow_there_is_no_target(tuned: Group, has_budget: bool) -> None:
    runs = {"a": scored_run(tuned), "b": scored_run(tuned)}
    comparison = compare_runs(small_params(OPTIMIZERS), DATASET, runs)
    assert comparison.target_accuracy is None
    assert bool(comparison.budget) == has_budget


def test_the_grid_of_each_optimizer_is_plotted_with_the_choice(compared: Compared) -> None:
    (trial, *_) = TRIALS.read(compared.runs / "quick")
    (point,) = [row for row in compared.evaluation.tuning if row.optimizer == "quick"]
    assert point == TuningPoint("quick", 1.0, 0.01, trial.validation_accuracy, 1, 0, "both")


@pytest.mark.parametrize(
    ("tuned", "choices"),
    [
        (0, ["tuned", "configured", "neither"]),
        (1, ["neither", "both", "neither"]),
        (2, ["neither", "configured", "tuned"]),
    ],
)
def test_the_plot_of_tuning_says_what_was_chosen(tuned: int, choices: list[str]) -> None:
    trained = scored_run(group([0.9], setting=tuned), group([0.8]))
    points = _tuning_points("it", trained)
    assert [point.learning_rate_factor for point in points] == [0.1, 1.0, 10.0]
    assert [point.choice for point in points] == choices


def test_a_budget_of_the_whole_grid_reaches_its_best(compared: Compared) -> None:
    tuned = TRIALS.read(compared.runs / "quick")[0].validation_accuracy
    points = [point for point in compared.evaluation.budget if point.optimizer == "quick"]
    assert points == [BudgetPoint("quick", 1, tuned)]


def test_runs_of_different_versions_are_not_compared() -> None:
    one = scored_run(group([0.9, 0.8]))
    other = replace(one, run=replace(one.run, versions={"keras": "2.0"}))
    with pytest.raises(InputError, match=r"runs/b was trained with \{'keras': '2\.0'\}"):
        compare_runs(small_params(OPTIMIZERS), DATASET, {"a": one, "b": other})


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
    runs = {"a": scored_run(group([0.9, 0.901] * 5)), "b": scored_run(group(others))}
    many_images = replace(DATASET, test_counts=(2500,) * 4)
    comparison = compare_runs(small_params(OPTIMIZERS), many_images, runs)
    assert comparison.best == best
    assert comparison.verdict.startswith(verdict)


def test_weights_of_other_trials_are_refused(compared: Compared, tmp_path: Path) -> None:
    shutil.copytree(compared.runs / "quick", tmp_path / "quick")
    weights = WEIGHTS.read(tmp_path / "quick")
    others = (
        replace(weights, seeds=weights.seeds + 1),
        replace(weights, seeds=weights.seeds[::-1]),
        replace(weights, settings=weights.settings + 1),
    )
    for other in others:
        WEIGHTS.write(tmp_path / "quick", other)
        with pytest.raises(InputError, match=r"quick: weights\.npz and trials\.csv differ"):
            compare(tmp_path, {"quick": OPTIMIZERS["quick"]})


def test_curves_that_lack_a_trial_are_refused(compared: Compared, tmp_path: Path) -> None:
    shutil.copytree(compared.runs / "quick", tmp_path / "quick")
    epochs = EPOCHS.read(tmp_path / "quick")
    EPOCHS.write(tmp_path / "quick", [row for row in epochs if row.seed != SEEDS[0]])
    with pytest.raises(InputError, match=r"quick: curves\.csv and trials\.csv differ"):
        compare(tmp_path, {"quick": OPTIMIZERS["quick"]})


@pytest.mark.parametrize("change", [{"tuned": 1}, {"configured": 1}, {"tuned": -1}])
def test_a_rate_that_was_never_confirmed_is_refused(
    compared: Compared, tmp_path: Path, change: dict[str, int]
) -> None:
    shutil.copytree(compared.runs / "quick", tmp_path / "quick")
    RUN.write(tmp_path / "quick", replace(RUN.read(tmp_path / "quick"), **change))
    with pytest.raises(InputError, match=r"quick: run\.json and trials\.csv differ"):
        compare(tmp_path, {"quick": OPTIMIZERS["quick"]})


def test_a_run_that_is_missing_is_told(compared: Compared) -> None:
    with pytest.raises(InputError, match="never_trained"):
        compare(compared.runs, OPTIMIZERS | {"never_trained": DIVERGING})


def test_forgotten_runs_alone_are_removed(tmp_path: Path) -> None:
    for name in ("sgd", "adam"):
        TRIALS.write(tmp_path / name, [])
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").touch()
    (tmp_path / ".gitignore").touch()
    remove_stale_runs(tmp_path, ["sgd"])
    assert sorted(path.name for path in tmp_path.iterdir()) == [".gitignore", "mine", "sgd"]
    assert (tmp_path / "mine" / "notes.txt").exists()
