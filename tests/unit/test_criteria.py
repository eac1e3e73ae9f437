"""Speed, tolerance and memory, from trials with known scores."""

from dataclasses import replace
from math import nan

import pytest

from stages.common.results import Choice, Criteria, TuningPoint
from stages.common.score import Score
from stages.evaluate.criteria import (
    epochs_to_target,
    good_rates,
    grid_points,
    measure,
)
from stages.evaluate.scored import ScoredRun
from tests.examples import SCORE, group, scored_run

RISING = [0.5, 0.7, 0.8, 0.9]


def point(factor: float, accuracy: float | None, n_failed: int = 0) -> TuningPoint:
    """One where the tuned rate is the configured one, 0.1."""
    choice: Choice = "both" if factor == 1 else "neither"
    return TuningPoint("it", factor, 0.1 * factor, accuracy, 2, n_failed, choice)


def judge(scored: ScoredRun, target: float | None, score: Score = SCORE) -> Criteria:
    return measure("it", scored, score, target=target, margin=0.01)


@pytest.mark.parametrize(
    ("accuracy", "target", "epochs"),
    [
        (RISING, 0.8, 3),
        (RISING, 0.1, 1),
        (RISING, 0.75, 3),
        (RISING, 0.91, None),
        ([0.9, 0.5], 0.8, 1),
        ([nan, 0.9], 0.8, 2),
        ([nan, nan], 0.1, None),
    ],
)
def test_the_first_epoch_at_the_target_counts(
    accuracy: list[float], target: float, epochs: int | None
) -> None:
    (curve,) = group([0.9], [accuracy]).curves
    assert epochs_to_target(curve, target, SCORE) == epochs


def test_the_grid_is_ordered_by_rate_and_averages_completed_trials() -> None:
    scores: dict[float, list[float | None]] = {
        10.0: [None, None],
        0.1: [0.25, 0.75],
        1.0: [0.5, None],
    }
    trained = scored_run(group([0.9], setting=2), tuning=scores)
    assert grid_points("it", trained) == (point(0.1, 0.5), point(1.0, 0.5, 1), point(10.0, None, 2))


def test_a_setting_that_was_not_tuned_is_not_in_the_grid() -> None:
    trained = scored_run(group([0.9], setting=0), tuning={0.1: [0.5], 1.0: [0.9]})
    (lower,) = grid_points("it", replace(trained, tuning=trained.tuning[:1]))
    assert (lower.learning_rate_factor, lower.choice) == (0.1, "both")


@pytest.mark.parametrize(
    ("grid", "factors"),
    [
        ([point(1, 0.9)], (1, 1)),
        ([point(0.1, 0.8), point(1, 0.9), point(10, 0.8)], (1, 1)),
        ([point(0.1, 0.895), point(1, 0.9), point(10, 0.899)], (0.1, 10)),
        ([point(0.1, 0.895), point(0.5, 0.8), point(1, 0.9)], (1, 1)),
        ([point(1, 0.9), point(3, 0.9, 1), point(10, 0.9)], (1, 1)),
        ([point(0.1, None, 2), point(1, None, 2)], (1, 1)),
        ([point(1, 0.9, 1), point(3, 0.9)], (1, 3)),
        ([point(0.1, 0.95), point(1, 0.9)], (0.1, 1)),
    ],
    ids=[
        "one-rate",
        "peak",
        "plateau",
        "gap",
        "diverged-neighbour",
        "all-diverged",
        "tuned-diverged-once",
        "better-neighbour",
    ],
)
def test_good_rates_are_an_unbroken_stretch_around_the_tuned_one(
    grid: list[TuningPoint], factors: tuple[float, float]
) -> None:
    low, high = factors
    assert good_rates(grid, SCORE, 0.01) == (0.1 * low, 0.1 * high)


@pytest.mark.parametrize(
    ("curves", "n_failed", "expected"),
    [
        ([RISING] * 3, 0, (3, 3)),
        ([RISING, [0.8] * 4], 0, (2, 2)),
        ([RISING, RISING, [0.1] * 4], 0, (2, 3)),
        ([RISING, [0.1] * 4], 0, (1, None)),
        ([RISING, [0.8] * 4], 1, (2, 3)),
        ([RISING], 1, (1, None)),
        ([], 2, (0, None)),
    ],
    ids=["all", "odd", "one-never", "half-never", "one-diverged", "half-diverged", "all-diverged"],
)
def test_a_trial_that_never_reaches_the_target_counts_in_the_median(
    curves: list[list[float]], n_failed: int, expected: tuple[int, float | None]
) -> None:
    tuned = group([0.9] * len(curves), curves, n_failed=n_failed)
    found = judge(scored_run(tuned), target=0.8)
    n_reached, epochs = expected
    assert (len(found.epochs_reached), found.epochs_to_target) == (n_reached, epochs)
    assert found.steps_to_target == (None if epochs is None else 5 * epochs)


def test_without_a_target_none_is_reached() -> None:
    found = judge(scored_run(group([0.9], [RISING])), target=None)
    assert (found.epochs_reached, found.epochs_to_target, found.steps_to_target) == ((), None, None)


def test_an_epoch_that_is_not_finite_reaches_no_target() -> None:
    tuned = group([0.9], [[nan, 0.9]])
    assert judge(scored_run(tuned), target=0.8).epochs_to_target == 2


def test_state_is_counted_for_each_parameter() -> None:
    found = judge(scored_run(group([0.9]), n_state=202), target=0.8)
    assert found.state_per_parameter == 2.02


@pytest.mark.parametrize(("factor", "share"), [(1.0, 3 / 8), (10.0, 3 / 12)])
def test_diverged_trials_are_counted_once_among_all(factor: float, share: float) -> None:
    tuning: dict[float, list[float | None]] = {1.0: [0.8, None], 10.0: [0.9, 0.9]}
    tuned = group([0.9, 0.9], setting=list(tuning).index(factor), n_failed=2)
    configured = tuned if factor == 1 else group([0.8, 0.8, 0.8, 0.8], setting=0)
    found = judge(scored_run(tuned, configured, tuning=tuning), target=0.8)
    assert found.failed_share == share


LOWER = replace(SCORE, sign=-1)
FALLING = [4.0, 2.0, 1.5, 1.0]


@pytest.mark.parametrize(("target", "epochs"), [(2.0, 2), (1.2, 4), (9.0, 1), (0.9, None)])
def test_a_target_is_reached_from_above_where_a_lower_score_is_better(
    target: float, epochs: int | None
) -> None:
    found = judge(scored_run(group([1.0], [FALLING])), target, LOWER)
    assert found.epochs_to_target == epochs


@pytest.mark.parametrize(
    ("margin", "factors"), [(0.01, (1, 1)), (0.5, (1, 10)), (1.0, (0.1, 10)), (0.0, (1, 1))]
)
def test_good_rates_are_those_within_the_margin_of_the_lower_score_too(
    margin: float, factors: tuple[float, float]
) -> None:
    grid = [point(0.1, 2.0), point(1, 1.0), point(10, 1.5)]
    assert good_rates(grid, LOWER, margin) == (0.1 * factors[0], 0.1 * factors[1])


def test_the_margin_bounds_the_good_rates() -> None:
    grid = [point(0.1, 0.85), point(1, 0.9), point(10, 0.88)]
    found = [good_rates(grid, SCORE, margin) for margin in (0.01, 0.03, 0.06)]
    assert found == [(0.1, 0.1), (0.1, 1.0), (0.1 * 0.1, 1.0)]
