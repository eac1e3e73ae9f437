"""Estimates and tests over seeds; scipy carries the arithmetic."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import accumulate
from math import ceil, comb, fsum, inf

import numpy as np
from scipy import stats
from scipy.special import ndtr

from stages.common.files import FloatArray
from stages.common.results import Estimate

POWER = 0.8
MAX_SEEDS = 10_000


@dataclass(frozen=True)
class Difference:
    """A mean paired difference with its interval, sample standard deviation and two-sided p."""

    mean: float
    low: float
    high: float
    standard_deviation: float
    p: float


def estimate(
    values: Sequence[float], confidence: float, *, lowest: float = -inf, highest: float = inf
) -> Estimate:
    """Mean with Student's t-interval.

    Student's, because the percentile bootstrap of a mean covers far too little at the three to ten
    seeds that people can afford.

    Args:
        values: One per seed; trials that diverged or failed are not among them.
        confidence: Level in (0, 1).
        lowest: The quantity's own bounds, such as 0 and 1 for an accuracy: the interval ends there.
        highest: See lowest.

    Returns:
        The mean, the interval's ends and the sample standard deviation; None for the mean of no
        value and for all others below two values.

    Source: Student 1908, The probable error of a mean, Biometrika 6(1).
    """
    if len(values) < 2:
        mean = values[0] if values else None
        return Estimate(mean=mean, low=None, high=None, standard_deviation=None)
    mean, spread = fsum(values) / len(values), float(np.std(values, ddof=1))
    half_width = _t_quantile(confidence, len(values)) * spread / len(values) ** 0.5
    low, high = max(mean - half_width, lowest), min(mean + half_width, highest)
    return Estimate(mean=mean, low=low, high=high, standard_deviation=spread)


def paired_difference(
    differences: Sequence[float], confidence: float, *, resolution: float
) -> Difference:
    """Mean of paired differences with Student's t-interval and t-test against zero.

    Seeds fix initial weights and the order of images for every optimizer alike, so pairing takes
    out what they share.

    Args:
        differences: One per seed, at least two.
        confidence: Level in (0, 1).
        resolution: The step in which the score can change, 1 / n_test for an accuracy. It bounds
            the standard deviation from below, since a few seeds may agree by chance to the last
            image.

    Source: Student 1908, as above.
    """
    n = len(differences)
    mean = fsum(differences) / n
    spread = max(float(np.std(differences, ddof=1)), resolution)
    error = spread / n**0.5
    half_width = _t_quantile(confidence, n) * error
    p = float(2 * stats.t.sf(abs(mean) / error, df=n - 1))
    return Difference(mean, mean - half_width, mean + half_width, spread, p)


def adjust_by_holm(p_values: Sequence[float]) -> list[float]:
    """Adjusts p-values of tests made together, so that one false alarm in all is held at alpha.

    Holm's step-down needs no independence, which pairs that share an optimizer do not have.

    Source: Holm 1979, A simple sequentially rejective multiple test procedure, Scandinavian
        Journal of Statistics 6(2).
    """
    order = sorted(range(len(p_values)), key=lambda index: p_values[index])
    factors = range(len(order), 0, -1)
    steps = accumulate((p_values[i] * n for i, n in zip(order, factors, strict=True)), max)
    adjusted = dict(zip(order, steps, strict=True))
    return [min(adjusted[index], 1.0) for index in range(len(order))]


def p_of_failure(n_completed: int, n_failed: int) -> float:
    """Two-sided p of two optimizers, all trials of the first completed, of the second none.

    Source: Fisher 1935, The design of experiments: the exact test of a table of two by two.
    """
    return float(stats.fisher_exact(np.diag([n_completed, n_failed])).pvalue)


def probability_of_improvement(first: Sequence[float], second: Sequence[float]) -> float:
    """How likely a trial of the first scores above one of the second; equal scores count half.

    Args:
        first: Scores, one per trial; -inf for one that diverged or failed.
        second: The same of the other optimizer.

    Source: Mann and Whitney 1947, whose U it is, over n_first * n_second; recommended for few
        seeds by Agarwal et al. 2021, arXiv:2108.13264.
    """
    above, level = np.greater.outer(first, second), np.equal.outer(first, second)
    return float(above.mean() + level.mean() / 2)


def seeds_for_power(mean: float, standard_deviation: float, alpha: float) -> int | None:
    """Seeds with which a paired t-test would find this difference with 80 % probability.

    What was observed stands for the truth, so the answer is as rough as that: a guide to the
    order of magnitude.

    Args:
        mean: Mean paired difference.
        standard_deviation: Of the paired differences, above 0.
        alpha: Two-sided level of the test.

    Returns:
        At least 2; None if 10,000 are not enough.

    Source: Cohen 1988, Statistical power analysis for the behavioral sciences.
    """
    effect = abs(mean) / standard_deviation
    quantiles = stats.norm.ppf(1 - alpha / 2) + stats.norm.ppf(POWER)
    # The normal distribution's answer; Student's is a few seeds more.
    if quantiles > effect * MAX_SEEDS**0.5:
        return None
    n = max(2, ceil((quantiles / effect) ** 2))
    while _power(effect, n, alpha) < POWER:
        n += 1
    return n


def half_width_of_images(first: FloatArray, second: FloatArray, confidence: float) -> float:
    """How far the choice of test images alone may move the difference of two mean accuracies.

    Seeds say nothing of this: all of them are scored on the same images.

    Args:
        first: Shape (n_test,), at least two: share of trials that are right on each image.
        second: The same of the second, on the same images.
        confidence: Level in (0, 1).

    Returns:
        Half the width of the normal interval of the mean paired difference over images.

    Source: Dietterich 1998, Approximate statistical tests for comparing supervised classification
        learning algorithms, Neural Computation 10(7), on this source of variation.
    """
    error = np.std(first - second, ddof=1) / len(first) ** 0.5
    return float(stats.norm.ppf((1 + confidence) / 2) * error)


def expected_best(scores: Sequence[float]) -> tuple[float, ...]:
    """Expected best of k learning rates drawn at random from the grid, for every k.

    Exact: the largest of k draws without replacement from n scores is the i-th smallest in
    C(i - 1, k - 1) of C(n, k) cases.

    Args:
        scores: One for each learning rate of the grid.

    Returns:
        Entry k - 1 is for k rates, up to the whole grid.

    Source: Dodge et al. 2019, Show your work, arXiv:1909.03004, there with replacement.
    """
    n, ordered = len(scores), sorted(scores)
    return tuple(
        fsum(score * comb(i, k - 1) for i, score in enumerate(ordered)) / comb(n, k)
        for k in range(1, n + 1)
    )


def _power(effect: float, n: int, alpha: float) -> float:
    """Power of the paired t-test.

    A mean over the spreads that n seeds may show: the noncentral t of scipy and of statsmodels is
    NaN or far off at the few degrees of freedom that matter here.
    """
    quantile = stats.t.ppf(1 - alpha / 2, df=n - 1)
    spreads = _spreads(n)
    shift = effect * n**0.5
    found = ndtr(shift - quantile * spreads) + ndtr(-shift - quantile * spreads)
    return float(found.mean())


@cache
def _spreads(n: int) -> FloatArray:
    """Standard deviations of n draws from a standard normal, at 200 evenly spread quantiles."""
    spreads: FloatArray = np.sqrt(stats.chi2.ppf((np.arange(200) + 0.5) / 200, df=n - 1) / (n - 1))
    return spreads


def _t_quantile(confidence: float, n: int) -> float:
    return float(stats.t.ppf((1 + confidence) / 2, df=n - 1))
