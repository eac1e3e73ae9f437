"""Intervals and tests against numbers that others published, exact counts and simulation."""

from itertools import combinations
from math import inf
from statistics import mean

import numpy as np
import pytest

from stages.common.results import Estimate
from stages.evaluate.statistics import (
    POWER,
    adjust_by_holm,
    estimate,
    expected_best,
    half_width_of_images,
    p_of_failure,
    paired_difference,
    probability_of_improvement,
    seeds_for_power,
)

# Student 1908, table of the additional hours of sleep; the intervals are those of R's t.test.
FIRST_DRUG = [0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0]
SECOND_DRUG = [1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4]


def numbers(given: Estimate) -> tuple[float | None, ...]:
    return given.mean, given.low, given.high, given.standard_deviation


@pytest.mark.parametrize(
    ("values", "confidence", "expected"),
    [
        (FIRST_DRUG, 0.95, (0.75, -0.5297804, 2.0297804, 1.789010)),
        (SECOND_DRUG, 0.95, (2.33, 0.8976775, 3.7623225, 2.002249)),
        # t of one degree of freedom is Cauchy's distribution: its quartiles are -1 and 1.
        ([0.0, 2.0], 0.5, (1.0, 0.0, 2.0, 2**0.5)),
        ([0.9, 0.9, 0.9], 0.95, (0.9, 0.9, 0.9, 0.0)),
        ([0.9], 0.95, (0.9, None, None, None)),
        ([], 0.95, (None, None, None, None)),
    ],
)
def test_an_interval_is_students(
    values: list[float], confidence: float, expected: tuple[float | None, ...]
) -> None:
    assert numbers(estimate(values, confidence)) == pytest.approx(expected, abs=1e-6)


def test_an_interval_ends_at_the_bounds_of_its_quantity() -> None:
    _, low, high, _ = numbers(estimate([0.1, 0.9], 0.95, lowest=0, highest=1))
    assert (low, high) == (0, 1)


@pytest.mark.parametrize("n_seeds", [3, 5, 10])
def test_an_interval_covers_the_truth_as_often_as_it_says(n_seeds: int) -> None:
    accuracies = np.random.default_rng(0).normal(0.9, 0.003, (4000, n_seeds))
    estimates = [estimate(each.tolist(), 0.95) for each in accuracies]
    covering = [(each.low or inf) <= 0.9 <= (each.high or -inf) for each in estimates]
    assert 0.93 <= mean(covering) <= 0.97


def test_a_paired_difference_is_students() -> None:
    differences = [two - one for one, two in zip(FIRST_DRUG, SECOND_DRUG, strict=True)]
    found = paired_difference(differences, 0.95, resolution=0.1)
    # R's t.test(extra ~ group, data = sleep, paired = TRUE)
    assert (found.mean, found.low, found.high, found.p) == pytest.approx(
        (1.58, 0.7001142, 2.4598858, 0.00283289), abs=1e-6
    )


def test_differences_that_agree_to_the_last_image_still_have_a_spread() -> None:
    found = paired_difference([0.01, 0.01], 0.95, resolution=0.01)
    assert found.standard_deviation == 0.01
    assert found.low < 0.0 < found.p


@pytest.mark.parametrize(
    ("p_values", "adjusted"),
    [
        # By hand: 4 x 0.005, 3 x 0.01, 2 x 0.03, and 1 x 0.04, which may not fall below that.
        ([0.01, 0.04, 0.03, 0.005], [0.03, 0.06, 0.06, 0.02]),
        # By hand: 5 x 0.01, 4 x 0.02, 3 x 0.03, and what may not fall below that. R's
        # p.adjust(1:5 / 100, "holm") gives the same.
        ([0.01, 0.02, 0.03, 0.04, 0.05], [0.05, 0.08, 0.09, 0.09, 0.09]),
        # By hand: 3 x 0.5 and what follows end at 1.
        ([0.9, 0.5, 0.7], [1.0, 1.0, 1.0]),
        # By hand: equal ones both get the factor of the first, 3 and not 2.
        ([0.01, 0.2, 0.01], [0.03, 0.2, 0.03]),
        ([0.0, 0.04], [0.0, 0.04]),
        ([0.04], [0.04]),
        ([], []),
    ],
    ids=["four", "five", "ends-at-one", "equal", "zero", "one", "none"],
)
def test_holm_adjusts_step_by_step(p_values: list[float], adjusted: list[float]) -> None:
    assert adjust_by_holm(p_values) == pytest.approx(adjusted)


@pytest.mark.parametrize(
    ("n_completed", "n_failed", "p"),
    # By hand: one of C(n + m, n) tables, and where n = m its mirror image.
    [(2, 2, 2 / 6), (3, 3, 2 / 20), (4, 4, 2 / 70), (1, 1, 1.0), (2, 3, 1 / 10)],
)
def test_the_p_of_failure_is_fishers(n_completed: int, n_failed: int, p: float) -> None:
    assert p_of_failure(n_completed, n_failed) == pytest.approx(p)


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ([2.0, 3.0], [0.0, 1.0], 1.0),
        ([1.0], [1.0], 0.5),
        ([1.0, 3.0], [2.0, 2.0], 0.5),
        ([0.9, -inf], [0.8, -inf], 0.625),
        # U = 25.5 of 100, as R's wilcox.test(extra ~ group, data = sleep) gives it.
        (FIRST_DRUG, SECOND_DRUG, 0.255),
    ],
)
def test_probability_of_improvement_is_mann_and_whitneys(
    first: list[float], second: list[float], expected: float
) -> None:
    assert probability_of_improvement(first, second) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("effect", "alpha", "expected"),
    # G*Power's answers for a medium, a large and a small effect.
    [(0.5, 0.05, 34), (0.8, 0.05, 15), (0.2, 0.05, 199), (1e-3, 0.05, None), (0.0, 0.05, None)],
)
def test_seeds_for_power_are_the_tables(effect: float, alpha: float, expected: int | None) -> None:
    assert seeds_for_power(-effect * 0.01, 0.01, alpha) == expected


def test_a_larger_difference_never_needs_more_seeds() -> None:
    needed = [seeds_for_power(effect, 1.0, 0.005) or inf for effect in np.geomspace(0.05, 50, 40)]
    assert needed == sorted(needed, reverse=True)
    assert needed[-1] < 6


@pytest.mark.parametrize("effect", [0.2, 0.4, 0.9])
def test_the_seeds_asked_for_give_the_power(effect: float) -> None:
    n_seeds = seeds_for_power(effect, 1.0, 0.05)
    assert n_seeds
    samples = np.random.default_rng(0).normal(effect, 1.0, (2000, n_seeds))
    found = [paired_difference(each.tolist(), 0.95, resolution=0.0).p < 0.05 for each in samples]
    assert POWER - 0.03 <= mean(found) <= POWER + 0.08


def test_the_spread_over_images_is_the_binomials() -> None:
    # One is always right, the other on every second of 400 images: sqrt(0.25 / 399) is its error.
    first, second = np.ones(400), np.tile([0.0, 1.0], 200)
    expected = 1.959964 * (0.25 / 399) ** 0.5
    assert half_width_of_images(first, second, 0.95) == pytest.approx(expected)


def test_expected_best_is_the_mean_over_all_choices() -> None:
    scores = [0.3, 0.9, 0.1, 0.6, 0.6]
    every_choice = [mean(map(max, combinations(scores, k))) for k in range(1, 6)]
    assert expected_best(scores) == pytest.approx(every_choice)
