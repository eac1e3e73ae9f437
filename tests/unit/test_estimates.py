"""Intervals and tests against numbers that others published, exact counts, scipy and simulation."""

from math import inf, nan
from statistics import mean

import numpy as np
import pytest
from scipy.special import ndtr
from scipy.stats import binomtest, ttest_1samp, ttest_rel

from stages.common.files import FloatArray
from stages.common.results import Estimate
from stages.inference.estimates import (
    Difference,
    estimate,
    failure_interval,
    half_width_of_examples,
    p_of_failures,
    paired_difference,
    probability_of_improvement,
)

# Student 1908, table of the additional hours of sleep; the intervals are those of R's t.test.
FIRST_DRUG = [0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0]
SECOND_DRUG = [1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4]
N_IMAGES = 359


def numbers(given: Estimate) -> tuple[float | None, ...]:
    return given.mean, given.low, given.high, given.standard_deviation


def contains(given: Estimate, value: float) -> bool:
    low = inf if given.low is None else given.low
    high = -inf if given.high is None else given.high
    return low - 1e-12 <= value <= high + 1e-12


def difference_of(first: FloatArray, second: FloatArray, resolution: float = 1e-9) -> Difference:
    found = paired_difference(first, second, resolution)
    assert found
    return found


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
    estimates = [estimate(values.tolist(), 0.95) for values in accuracies]
    covering = [contains(found, 0.9) for found in estimates]
    assert 0.93 <= mean(covering) <= 0.97


def test_values_that_agree_by_chance_still_have_an_interval_as_wide_as_the_resolution() -> None:
    found = estimate([0.9, 0.9], 0.5, resolution=0.02)
    # The quartiles of Cauchy's distribution again, now times .02 / sqrt(2); the spread stays.
    assert numbers(found) == pytest.approx((0.9, 0.9 - 0.02 / 2**0.5, 0.9 + 0.02 / 2**0.5, 0.0))


def test_a_resolution_below_the_spread_changes_nothing() -> None:
    assert estimate(FIRST_DRUG, 0.95, resolution=1.7) == estimate(FIRST_DRUG, 0.95)


@pytest.mark.parametrize(
    ("spread", "without", "with_resolution"),
    [(0.0005, 0.10, 1.0), (0.001, 0.51, 1.0), (0.002, 0.85, 1.0), (0.006, 0.945, 0.985)],
)
def test_three_seeds_on_few_examples_cover_the_truth_thanks_to_the_resolution(
    spread: float, without: float, with_resolution: float
) -> None:
    # Accuracies of .98 on average, before they are rounded to a whole number of examples.
    drawn = np.random.default_rng(0).normal(0.98, spread, (4000, 3))
    right = np.round(drawn * N_IMAGES) / N_IMAGES
    counts = np.arange(N_IMAGES + 1)
    edges = ndtr((np.append(counts, N_IMAGES + 1) - 0.5 - 0.98 * N_IMAGES) / N_IMAGES / spread)
    truth = float(counts @ np.diff(edges)) / N_IMAGES
    rates = [
        mean(
            contains(estimate(values.tolist(), 0.95, resolution=resolution), truth)
            for values in right
        )
        for resolution in (0.0, 1 / N_IMAGES)
    ]
    assert rates == pytest.approx([without, with_resolution], abs=0.02)


def test_a_paired_difference_is_students() -> None:
    found = difference_of(np.array(SECOND_DRUG), np.array(FIRST_DRUG))
    half_width = found.half_width(0.025)
    # R's t.test(extra ~ group, data = sleep, paired = TRUE)
    assert found.n == 10
    assert found.mean == pytest.approx(1.58)
    assert (found.mean - half_width, found.mean + half_width, 2 * found.p_above()) == pytest.approx(
        (0.7001142, 2.4598858, 0.00283289), abs=1e-6
    )


@pytest.mark.parametrize("n_seeds", [2, 3, 10, 160])
def test_a_paired_difference_is_scipys(n_seeds: int) -> None:
    first, second = np.random.default_rng(n_seeds).normal(0.9, 0.01, (2, n_seeds))
    found = difference_of(first, second)
    assert found.p_above() == pytest.approx(ttest_rel(first, second, alternative="greater").pvalue)
    shifted = ttest_1samp(first - second, -0.005, alternative="greater")
    assert found.p_above(-0.005) == pytest.approx(shifted.pvalue)
    interval = ttest_rel(first, second).confidence_interval(0.99)
    half_width = found.half_width(0.005)
    assert (found.mean - half_width, found.mean + half_width) == pytest.approx(
        (interval.low, interval.high)
    )


def test_a_lower_bound_lies_above_a_value_just_where_p_is_smaller_than_its_level() -> None:
    found = difference_of(np.array(SECOND_DRUG), np.array(FIRST_DRUG))
    for value in (-1.0, 0.0, 1.0, 1.5):
        level = found.p_above(value)
        assert found.mean - found.half_width(level) == pytest.approx(value)


def test_only_seeds_that_both_completed_are_paired() -> None:
    first = np.array([0.9, nan, 0.8, 0.7, nan, 0.6])
    second = np.array([0.8, 0.1, nan, 0.65, nan, 0.57])
    kept = [0, 3, 5]
    assert difference_of(first, second) == difference_of(first[kept], second[kept])
    assert difference_of(first, second).n == 3


@pytest.mark.parametrize(
    ("first", "second"),
    [([], []), ([0.9], [0.8]), ([0.9, nan], [0.8, 0.8]), ([0.9, nan], [nan, 0.8])],
)
def test_below_two_seeds_that_both_completed_there_is_no_difference(
    first: list[float], second: list[float]
) -> None:
    assert paired_difference(np.array(first), np.array(second), 0.01) is None


def test_differences_that_agree_to_the_last_image_still_have_a_spread() -> None:
    found = difference_of(np.array([0.51, 0.41]), np.array([0.5, 0.4]), resolution=0.01)
    assert found.error == pytest.approx(0.01 / 2**0.5)
    assert found.p_above() > 0.0


@pytest.mark.parametrize(
    ("only_first", "only_second", "both", "neither"),
    [(0, 0, 0, 10), (0, 1, 0, 9), (1, 0, 2, 3), (0, 10, 0, 0), (2, 7, 3, 40), (7, 2, 1, 0)],
)
def test_the_p_of_failures_is_the_exact_one_of_mcnemar(
    only_first: int, only_second: int, both: int, neither: int
) -> None:
    counts = (only_first, only_second, both, neither)
    first = np.repeat([nan, 0.5, nan, 0.5], counts)
    second = np.repeat([0.5, nan, nan, 0.5], counts)
    expected = 1.0
    if only_first + only_second:
        test = binomtest(only_second, only_first + only_second, alternative="greater")
        expected = test.pvalue
    assert p_of_failures(first, second) == pytest.approx(expected)


def test_of_two_that_fail_equally_often_each_is_found_to_fail_more_no_oftener_than_the_level() -> (
    None
):
    generator = np.random.default_rng(0)
    for share, level in ((0.1, 0.05), (0.5, 0.05), (0.5, 0.01)):
        failed = generator.random((4000, 2, 20)) < share
        scores = np.where(failed, nan, 0.5)
        found = [p_of_failures(first, second) <= level for first, second in scores]
        assert mean(found) <= level + 2 * (level / 4000) ** 0.5


@pytest.mark.parametrize(
    ("n_failed", "n_trials", "expected"),
    [
        # R's binom.test.
        (0, 10, (0.0, 0.3084971)),
        (1, 10, (0.002528579, 0.4450161)),
        (5, 10, (0.1870860, 0.8129140)),
        (3, 20, (0.03207094, 0.3789268)),
        (10, 10, (0.6915029, 1.0)),
    ],
)
def test_the_interval_of_failures_is_clopper_and_pearsons(
    n_failed: int, n_trials: int, expected: tuple[float, float]
) -> None:
    assert failure_interval(n_failed, n_trials, 0.95) == pytest.approx(expected, abs=1e-6)


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
    assert probability_of_improvement(np.array(first), np.array(second)) == pytest.approx(expected)


def test_the_spread_over_examples_is_the_binomials() -> None:
    # One is always right, the other on every second of 400 examples: sqrt(0.25 / 399) is its error.
    first, second = np.ones(400), np.tile([0.0, 1.0], 200)
    expected = 1.959964 * (0.25 / 399) ** 0.5
    assert half_width_of_examples(first, second, 0.95) == pytest.approx(expected)


def test_seeds_that_agree_exactly_overflow_nothing() -> None:
    difference = paired_difference(np.full(10, 1e9), np.full(10, -1e9), resolution=0.0)
    assert difference is not None
    assert (difference.p_above(), difference.p_below()) == (0, 1)
    assert difference.half_width(0.025) == pytest.approx(0)
