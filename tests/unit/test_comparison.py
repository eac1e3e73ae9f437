"""From the optimizers' trials to the numbers that metrics.json, evaluation and plots hold."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stages.common.confirmation import ROWS, Scored
from stages.common.data import Examples, Scaling
from stages.common.errors import InputError
from stages.common.params import Params
from stages.common.results import (
    COMPARISON,
    CONFUSION,
    CURVES,
    FITTED,
    METRICS,
    MISTAKES,
    PAIRS,
    SCORES,
    TUNING,
    Comparison,
    Estimate,
    Finding,
    OptimizerMetrics,
    TuningPoint,
)
from stages.common.runs import EPOCHS, TRIALS
from stages.evaluate.comparison import Evaluation, evaluate, summarise
from stages.evaluate.comparison import compare as compare_runs
from stages.evaluate.criteria import grid_points
from stages.evaluate.predictions import find_mistakes
from stages.evaluate.scored import ScoredRun, read_runs
from stages.inference.estimates import half_width_of_examples
from tests import regression
from tests.examples import (
    CLASS_NAMES,
    DATASET,
    TEST,
    Trials,
    group,
    scored_run,
    small_training,
    write_confirmed,
    write_trained,
)
from tests.parameters import optimizer, small_params
from tests.regression import numbers_params
from tests.results import predicting_numbers

OPTIMIZERS = {
    "diverging": optimizer(class_name="SGD", learning_rate=1e30),
    "slow": optimizer(class_name="SGD", learning_rate=1e-6),
    "quick": optimizer(class_name="Adam", learning_rate=0.01),
}
PARAMS = small_params(OPTIMIZERS)
SEEDS = list(range(100, 110))
SURE = "(95 % sure, however often you looked)"


@dataclass(frozen=True)
class Compared:
    """Trained runs, the race between them, and what evaluate made of both."""

    runs: Path
    confirmation: Path
    scored: Mapping[str, ScoredRun]
    evaluation: Evaluation


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> Compared:
    folder = tmp_path_factory.mktemp("compared")
    for name, entry in OPTIMIZERS.items():
        write_trained(folder / "runs" / name, small_training(entry))
    write_confirmed(folder / "confirmation", folder / "runs", PARAMS)
    scored = read_runs(OPTIMIZERS, folder / "runs", folder / "confirmation")
    evaluation = evaluate(PARAMS, DATASET, TEST, scored)
    return Compared(folder / "runs", folder / "confirmation", scored, evaluation)


def compare(
    runs: Mapping[str, ScoredRun], at_most: int = 10, n_test: int = 60, **comparison: float
) -> Comparison:
    """On so many test examples of four classes; the margin is 0.01."""
    settings = {"margin": 0.01, **comparison}
    params = small_params(OPTIMIZERS, confirmation={"at_most": at_most}, comparison=settings)
    dataset = replace(DATASET, n_test=n_test, test_counts=(n_test // 4,) * 4)
    return compare_runs(params, dataset, dict(sorted(runs.items())))


def to_and_fro(accuracy: float, n: int = 10, step: float = 0.001, n_failed: int = 0) -> Trials:
    """Trials above and below the accuracy in turn."""
    return group([accuracy + step * (-1) ** i for i in range(n)], n_failed=n_failed)


def test_an_optimizer_without_scores_is_in_the_tables_but_has_no_curve(compared: Compared) -> None:
    result = compared.evaluation
    assert result.comparison.optimizers.keys() == OPTIMIZERS.keys()
    for rows in (result.scores, result.tuning):
        assert {row.optimizer for row in rows} == OPTIMIZERS.keys()
    for points in (result.curves, result.confusion):
        assert {point.optimizer for point in points} == {"slow", "quick"}


def test_the_leader_stands_first_and_the_diverged_one_last(compared: Compared) -> None:
    comparison = compared.evaluation.comparison
    assert comparison.best == "quick"
    assert comparison.verdict == (
        f"Take quick: with 10 seeds, every other is behind it or fails more often {SURE}."
    )
    assert list(comparison.optimizers) == ["quick", "slow", "diverging"]
    assert [row.optimizer for row in compared.evaluation.scores] == list(comparison.optimizers)


def test_a_result_is_the_mean_of_its_scores(compared: Compared) -> None:
    tuned = compared.evaluation.comparison.optimizers["quick"].tuned
    rows = [row for row in ROWS.read(compared.confirmation) if row.optimizer == "quick"]
    scores = [row for row in rows if isinstance(row, Scored)]
    assert [row.seed for row in scores] == SEEDS
    assert (tuned.n_trials, tuned.n_failed, tuned.learning_rate) == (10, 0, 0.01)
    for name in ("test_score", "test_loss", "validation_score", "best_validation_score"):
        mean = np.mean([getattr(row, name) for row in scores])
        assert getattr(tuned, name).mean == pytest.approx(mean), name


def test_a_diverged_optimizer_is_counted_and_has_no_numbers(compared: Compared) -> None:
    result = compared.evaluation.comparison.optimizers["diverging"]
    tuned = result.tuned
    assert (tuned.n_trials, tuned.n_failed, result.criteria.failed_share) == (10, 10, 1)
    unknown = Estimate(None, None, None, None)
    assert tuned.test_score == tuned.test_loss == tuned.validation_score == unknown


def test_confusion_is_the_share_of_each_class(compared: Compared) -> None:
    cells = [cell for cell in compared.evaluation.confusion if cell.optimizer == "quick"]
    shares = {(cell.actual, cell.predicted): cell.share for cell in cells}
    assert len(shares) == len(CLASS_NAMES) ** 2
    for actual in CLASS_NAMES:
        assert sum(shares[actual, predicted] for predicted in CLASS_NAMES) == pytest.approx(1)
    n_examples = np.bincount(TEST.targets)
    right = sum(n * shares[name, name] for n, name in zip(n_examples, CLASS_NAMES, strict=True))
    accuracy = compared.evaluation.comparison.optimizers["quick"].tuned.test_score.mean
    assert right / len(TEST.targets) == pytest.approx(accuracy)


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
        accuracies = [getattr(row, f"{point.split}_score") for row in trials]
        assert point.loss == np.mean([getattr(row, f"{point.split}_loss") for row in trials])
        assert point.score == np.mean(accuracies)
        assert (point.score_low, point.score_high) == (min(accuracies), max(accuracies))


def test_all_diverged_leaves_no_best_and_no_nan(compared: Compared, tmp_path: Path) -> None:
    params = small_params({"diverging": OPTIMIZERS["diverging"]})
    scored = {"diverging": compared.scored["diverging"]}
    result = evaluate(params, DATASET, TEST, scored)
    METRICS.write(tmp_path, result.metrics)
    COMPARISON.write(tmp_path, result.comparison)
    SCORES.write(tmp_path, result.scores)
    CURVES.write(tmp_path, result.curves)
    CONFUSION.write(tmp_path, result.confusion)
    TUNING.write(tmp_path, result.tuning)
    PAIRS.write(tmp_path, result.comparison.pairs)
    written = json.loads((tmp_path / METRICS.name).read_text())
    assert (written["best"], written["seeds"]) == (None, 10)
    assert written["warnings"] == len(result.comparison.warnings) > 0
    assert written["optimizers"]["diverging"] == {
        "score": None,
        "low": None,
        "high": None,
        "rate": 1e30,
        "failed": 10,
    }
    assert result.comparison.verdict == "No optimizer can be taken: every trial failed."
    read = COMPARISON.read(tmp_path)
    assert COMPARISON.encode(read) == COMPARISON.encode(result.comparison)
    assert [path.name for path in tmp_path.iterdir() if "nan" in path.read_text().lower()] == []
    MISTAKES.write(tmp_path, result.mistakes)
    assert len(MISTAKES.read(tmp_path).pictures) == 0


@pytest.mark.parametrize("bound", [0.001, None])
@pytest.mark.parametrize("best", ["sgd", None])
def test_metrics_tell_the_answer_and_count_the_warnings(
    compared: Compared, best: str | None, bound: float | None
) -> None:
    finding = Finding("edge_of_grid", ("sgd",), {"extreme": "highest", "rates": {"sgd": 0.5}})
    comparison = replace(
        compared.evaluation.comparison,
        best=best,
        bound=bound,
        n_seeds=60,
        warnings=(finding, replace(finding, optimizers=())),
    )
    metrics = summarise(comparison)
    assert (metrics.best, metrics.bound, metrics.seeds, metrics.warnings) == (best, bound, 60, 2)


def test_metrics_are_five_rounded_numbers_for_each_optimizer(
    compared: Compared, tmp_path: Path
) -> None:
    result = compared.evaluation.comparison.optimizers["quick"]
    tuned = replace(
        result.tuned,
        learning_rate=0.1,
        n_failed=1,
        test_score=Estimate(0.912345678, 0.9, 0.92, 0.01),
    )
    configured = replace(result.configured, test_score=Estimate(0.8, 0.7, 0.9, 0.1))
    optimizers = {
        "sgd": replace(result, tuned=tuned, configured=configured),
        "adam": replace(result, tuned=configured, configured=tuned),
    }
    comparison = replace(compared.evaluation.comparison, optimizers=optimizers, bound=1 / 3)
    METRICS.write(tmp_path, summarise(comparison))
    written = json.loads((tmp_path / METRICS.name).read_text())
    assert list(written) == ["best", "bound", "seeds", "warnings", "optimizers"]
    assert written["bound"] == 0.333333
    assert list(written["optimizers"]) == ["adam", "sgd"]
    assert written["optimizers"]["sgd"] == {
        "score": 0.912346,
        "low": 0.9,
        "high": 0.92,
        "rate": 0.1,
        "failed": 1,
    }


def test_the_metrics_are_those_of_the_comparison(compared: Compared) -> None:
    evaluation = compared.evaluation
    assert evaluation.metrics == summarise(evaluation.comparison)
    assert evaluation.metrics.optimizers["diverging"] == OptimizerMetrics(rate=1e30, failed=10)
    assert evaluation.metrics.bound == evaluation.comparison.looks[-1].bound == 0


def test_every_pair_is_labelled_in_the_order_of_the_ranking(compared: Compared) -> None:
    pairs = compared.evaluation.comparison.pairs
    assert [(pair.first, pair.second, pair.label, pair.n_seeds) for pair in pairs] == [
        ("quick", "slow", "better", 10),
        ("quick", "diverging", "better", 10),
        ("slow", "diverging", "better", 10),
    ]


@pytest.mark.parametrize(
    ("n_failed", "label", "p"),
    # McNemar's p, two-sided; twice that where there are scores to be tested as well. Of one score
    # there is no difference.
    [(10, "better", 2**-9), (9, "better", 2**-8), (8, "better", 2**-6), (5, "undecided", 2**-3)],
)
def test_a_rival_that_failed_is_behind_where_that_is_no_chance(
    n_failed: int, label: str, p: float
) -> None:
    runs = {
        "good": scored_run(to_and_fro(0.9)),
        "lost": scored_run(to_and_fro(0.9, 10 - n_failed, n_failed=n_failed)),
    }
    (pair,) = compare(runs).pairs
    assert (pair.first, pair.label) == ("good", label)
    assert (pair.mean_difference is None) == (n_failed > 8)
    assert pair.p == pytest.approx(p)


def test_every_trial_is_counted_once(compared: Compared) -> None:
    comparison = compared.evaluation.comparison
    assert comparison.n_trials == 3 * (1 + len(SEEDS))
    rows = [row for name in OPTIMIZERS for row in TRIALS.read(compared.runs / name)]
    assert comparison.n_steps == sum(row.n_steps for row in rows)


def test_what_is_wrong_is_told(compared: Compared) -> None:
    warnings = compared.evaluation.comparison.warnings
    found = {(finding.check, finding.optimizers) for finding in warnings}
    assert {("failures", ("diverging",)), ("guessing", ("slow",))} <= found


def test_the_target_is_the_margin_below_the_leader_or_the_one_that_is_set(
    compared: Compared,
) -> None:
    comparison = compared.evaluation.comparison
    leader = comparison.optimizers["quick"].tuned.validation_score.mean
    assert leader is not None
    assert comparison.target == pytest.approx(leader - PARAMS.comparison.margin)
    content = PARAMS.model_dump(mode="json")
    content["comparison"]["target"] = 0.123
    params = Params.model_validate_json(json.dumps(content))
    assert compare_runs(params, DATASET, compared.scored).target == 0.123


def test_the_target_follows_the_margin() -> None:
    runs = {"a": scored_run(to_and_fro(0.9)), "b": scored_run(to_and_fro(0.8))}
    for margin in (0.0, 0.05):
        assert compare(runs, margin=margin).target == pytest.approx(0.9 - margin)


@pytest.mark.parametrize(
    "tuned", [group([0.01] * 10), group([], n_failed=10)], ids=["nothing-learned", "all-diverged"]
)
def test_without_a_leader_to_follow_there_is_no_target(tuned: Trials) -> None:
    assert compare({"a": scored_run(tuned), "b": scored_run(tuned)}).target is None


def test_the_grid_of_each_optimizer_is_plotted_with_the_choice(compared: Compared) -> None:
    (trial, *_) = TRIALS.read(compared.runs / "quick")
    (point,) = [row for row in compared.evaluation.tuning if row.optimizer == "quick"]
    accuracy = trial.validation_score if trial.outcome == "completed" else None
    assert point == TuningPoint("quick", 1.0, 0.01, accuracy, 1, 0, "both")


@pytest.mark.parametrize(
    ("tuned", "choices"),
    [
        (0, ["tuned", "configured", "neither"]),
        (1, ["neither", "both", "neither"]),
        (2, ["neither", "configured", "tuned"]),
    ],
)
def test_the_plot_of_tuning_says_what_was_chosen(tuned: int, choices: list[str]) -> None:
    points = grid_points("it", scored_run(group([0.9], setting=tuned), group([0.8])))
    assert [point.learning_rate_factor for point in points] == [0.1, 1.0, 10.0]
    assert [point.choice for point in points] == choices


def test_runs_of_different_versions_are_not_compared() -> None:
    one = scored_run(to_and_fro(0.9))
    other = replace(one, run=replace(one.run, versions={"keras": "2.0"}))
    with pytest.raises(InputError, match=r"runs/b was trained with \{'keras': '2\.0'\}"):
        compare({"a": one, "b": other})


@pytest.mark.parametrize(
    ("b", "verdict"),
    [
        (to_and_fro(0.8), f"Take a: with 10 seeds, it is ahead of every other {SURE}."),
        (
            to_and_fro(0.9),
            f"Take a: with 10 seeds, no other is ahead of it by more than 0.0001 {SURE}.",
        ),
        (
            group([0.95, 0.85, *[0.9] * 8]),
            f"Take a for now: after 10 seeds, b may be ahead by up to 0.0166 {SURE}.",
        ),
        (
            group([0.9], n_failed=9),
            f"Take a: with 10 seeds, every other is behind it or fails more often {SURE}.",
        ),
    ],
    ids=["behind", "alike", "open", "failing"],
)
def test_an_answer_is_always_given(b: Trials, verdict: str) -> None:
    comparison = compare({"a": scored_run(to_and_fro(0.9)), "b": scored_run(b)}, n_test=10_000)
    assert (comparison.best, comparison.verdict) == ("a", verdict)
    assert comparison.best == next(iter(comparison.optimizers))


def test_who_left_the_race_is_compared_by_the_seeds_that_were_trained() -> None:
    wide = [0.9 + 0.05 * (-1) ** i for i in range(15)]
    runs = {
        "a": scored_run(group(wide)),
        "b": scored_run(group([*wide[5:], *wide[:5]])),
        "out": scored_run(to_and_fro(0.2)),
    }
    comparison = compare(runs, at_most=15, n_test=10_000)
    assert [(look.n_seeds, look.beaten) for look in comparison.looks] == [(10, ("out",)), (15, ())]
    assert comparison.n_seeds == 15
    assert comparison.bound == comparison.looks[-1].bound
    n_trials = {name: result.tuned.n_trials for name, result in comparison.optimizers.items()}
    assert n_trials == {"a": 15, "b": 15, "out": 10}
    n_seeds = {frozenset((pair.first, pair.second)): pair.n_seeds for pair in comparison.pairs}
    assert n_seeds[frozenset("ab")] == 15
    assert {n_seeds[frozenset((name, "out"))] for name in "ab"} == {10}


def test_scores_beyond_the_look_that_decided_change_nothing_that_is_concluded() -> None:
    early = compare({"a": scored_run(to_and_fro(0.9)), "b": scored_run(to_and_fro(0.8))}, 10)
    late = compare({"a": scored_run(to_and_fro(0.9)), "b": scored_run(to_and_fro(0.8))}, 160)
    assert (early.verdict, early.bound, early.looks) == (late.verdict, late.bound, late.looks)


def test_behind_the_leader_the_ranking_is_by_failures_then_score_then_name() -> None:
    runs = {
        "e": scored_run(to_and_fro(0.8, 9, n_failed=1)),
        "d": scored_run(to_and_fro(0.7)),
        "c": scored_run(to_and_fro(0.6)),
        "b": scored_run(to_and_fro(0.7)),
        "a": scored_run(to_and_fro(0.9)),
    }
    assert list(compare(runs).optimizers) == ["a", "b", "d", "c", "e"]


def test_a_pair_tells_how_far_the_test_examples_may_move_it(compared: Compared) -> None:
    pair = compared.evaluation.comparison.pairs[0]
    quick, slow = (
        (compared.scored[name].predictions == TEST.targets).mean(axis=0)
        for name in ("quick", "slow")
    )
    assert pair.test_set_half_width == pytest.approx(half_width_of_examples(quick, slow, 0.95))
    assert (pair.test_set_half_width or 0) > 0
    assert compared.evaluation.comparison.pairs[1].test_set_half_width is None


def test_the_probability_of_improvement_counts_a_failed_trial_as_lost() -> None:
    runs = {"a": scored_run(group([0.9] * 10)), "b": scored_run(group([0.9] * 5, n_failed=5))}
    (pair,) = compare(runs).pairs
    assert (pair.first, pair.probability_of_improvement) == ("a", 0.75)


def test_mistakes_are_the_images_that_most_trials_of_the_leader_got_wrong() -> None:
    labels = np.array([0, 1, 2, 3, 0], np.int32)
    test = Examples(np.arange(5, dtype=np.uint8).reshape(5, 1, 1, 1), labels)
    wrong = [[0, 2, 2, 1, 0], [0, 3, 2, 1, 1], [0, 3, 2, 3, 2]]
    leader = scored_run(to_and_fro(0.9))
    predictions = np.array([*wrong, *[labels] * 7], np.uint8)
    scored = {
        "a": replace(leader, predictions=predictions),
        "b": replace(scored_run(to_and_fro(0.5)), predictions=np.zeros((10, 5), np.uint8)),
    }
    dataset = replace(DATASET, n_test=5, test_counts=(2, 1, 1, 1))
    found = evaluate(PARAMS, dataset, test, scored).mistakes
    assert found.pictures.ravel().tolist() == [1, 3, 4]
    assert found.actual.tolist() == [1, 3, 0]
    assert found.predicted.tolist() == [3, 1, 1]
    assert found.n_wrong.tolist() == [3, 2, 2]


def test_no_more_mistakes_are_kept_than_a_page_can_show() -> None:
    runs = {"a": scored_run(group([0.1] * 10)), "b": scored_run(group([0.0] * 10))}
    found = evaluate(PARAMS, DATASET, TEST, runs).mistakes
    assert len(found.pictures) == len(found.n_wrong) == 24


def test_pictures_with_four_channels_and_numbers_are_no_mistakes_to_be_shown() -> None:
    run = scored_run(group([0.1] * 10))
    for inputs in (np.zeros((60, 6, 6, 4), np.uint8), np.zeros((60, 6, 6, 1), np.float32)):
        found = find_mistakes(run, Examples(inputs, TEST.targets), DATASET.scaling)
        assert len(found.pictures) == len(found.n_wrong) == 0


LOWER: dict[str, Any] = {"score": "mean_absolute_error"}


def compare_numbers(
    *accuracies: Trials, margin: float = 0.01, at_most: int = 10, **task: str
) -> Comparison:
    """The optimizers a, b, ... of a regression."""
    runs = {
        name: predicting_numbers(scored_run(trials))
        for name, trials in zip("abc", accuracies, strict=False)
    }
    params = numbers_params(
        OPTIMIZERS,
        task=task,
        confirmation={"at_most": at_most},
        comparison={"margin": margin},
    )
    return compare_runs(params, regression.DATASET, runs)


def test_a_regression_is_compared_by_its_r2() -> None:
    comparison = compare_numbers(to_and_fro(0.5), to_and_fro(0.8), to_and_fro(-0.3))
    assert (comparison.score.name, comparison.best) == ("R²", "b")
    assert list(comparison.optimizers) == ["b", "a", "c"]
    assert comparison.target == pytest.approx(0.79)
    assert comparison.optimizers["c"].tuned.test_score.mean == pytest.approx(-0.3)
    assert comparison.verdict == f"Take b: with 10 seeds, it is ahead of every other {SURE}."
    assert [(pair.first, pair.second, pair.label) for pair in comparison.pairs] == [
        ("b", "a", "better"), ("b", "c", "better"), ("a", "c", "better"),
    ]  # fmt: skip


def test_a_target_of_r2_may_lie_below_0() -> None:
    comparison = compare_numbers(to_and_fro(-0.3))
    assert comparison.target == pytest.approx(-0.31)


def test_where_a_lower_score_is_better_the_lowest_leads() -> None:
    comparison = compare_numbers(to_and_fro(5.0), to_and_fro(3.0), to_and_fro(9.0), **LOWER)
    assert list(comparison.optimizers) == ["b", "a", "c"]
    assert comparison.best == "b"
    assert comparison.target == pytest.approx(3.01)
    assert [(pair.first, pair.second, pair.label) for pair in comparison.pairs] == [
        ("b", "a", "better"), ("b", "c", "better"), ("a", "c", "better"),
    ]  # fmt: skip
    first, *_ = comparison.pairs
    assert first.mean_difference == pytest.approx(2.0)
    assert first.probability_of_improvement == 1
    assert comparison.optimizers["b"].criteria.epochs_to_target == 1
    assert comparison.optimizers["a"].criteria.epochs_to_target is None


def test_a_trial_that_failed_loses_where_a_lower_score_is_better_too() -> None:
    comparison = compare_numbers(group([3.0] * 5, n_failed=5), to_and_fro(3.0), **LOWER)
    (pair,) = comparison.pairs
    assert (pair.first, pair.second) == ("b", "a")
    assert pair.probability_of_improvement >= 0.5


def test_the_evaluation_of_a_regression_has_fitted_points_and_no_classes(tmp_path: Path) -> None:
    runs = {
        name: predicting_numbers(scored_run(to_and_fro(score)))
        for name, score in (("a", 0.5), ("b", 0.8))
    }
    params = numbers_params(OPTIMIZERS)
    found = evaluate(params, regression.DATASET, regression.TEST, runs)
    assert found.confusion == ()
    assert len(found.mistakes.pictures) == 0
    assert found.metrics.best == "b"
    assert {point.optimizer for point in found.fitted} == {"b"}
    FITTED.write(tmp_path, found.fitted)
    assert [point.output for point in FITTED.read(tmp_path)] == [0] * 60 + [1] * 60
    told = [finding.check for finding in found.comparison.warnings]
    assert not {"absent_class", "margin_below_an_example"} & set(told)


def test_the_comparison_leaves_out_what_grows_with_the_table() -> None:
    dataset = compare_numbers(to_and_fro(0.5)).dataset
    assert (dataset.features, dataset.scaling) == ((), Scaling((), (), (), ()))
