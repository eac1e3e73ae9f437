"""Means over seeds and paired differences, with Student's intervals; scipy does the arithmetic."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import fsum, inf

import numpy as np
from scipy.special import bdtrc, betaincinv, ndtri, stdtr, stdtrit

from stages.common.files import FloatArray
from stages.common.results import Estimate


@dataclass(frozen=True)
class Difference:
    """A mean of n paired differences and its standard error."""

    n: int
    mean: float
    error: float

    def p_above(self, value: float = 0.0) -> float:
        """One-sided p of the hypothesis that the true mean is at most `value`."""
        return float(stdtr(self.n - 1, (value - self.mean) / self.error))

    def p_below(self, value: float = 0.0) -> float:
        """One-sided p of the hypothesis that the true mean is at least `value`."""
        return float(stdtr(self.n - 1, (self.mean - value) / self.error))

    def half_width(self, level: float) -> float:
        """How far a bound at this one-sided level lies from the mean."""
        return -float(stdtrit(self.n - 1, level)) * self.error


def estimate(
    values: Sequence[float],
    confidence: float,
    *,
    resolution: float = 0.0,
    lowest: float = -inf,
    highest: float = inf,
) -> Estimate:
    """Mean with Student's t-interval.

    Student's interval, because the percentile bootstrap of a mean has far too little coverage at
    the three to ten seeds that people can afford.

    Args:
        values: One per seed; trials that diverged or failed are not among them.
        confidence: Level in (0, 1).
        resolution: The step in which the score can change; it bounds the standard deviation from
            below, since a few seeds may agree by chance.
        lowest: The quantity's own bounds, such as 0 and 1 for an accuracy: the interval ends there.
        highest: See lowest.

    Returns:
        The mean, the interval's ends and the sample standard deviation. The mean is None if there
        are no values; the others are None if there are fewer than two.

    Source: Student 1908, The probable error of a mean, Biometrika 6(1).
    """
    if len(values) < 2:
        return Estimate(values[0] if values else None, None, None, None)
    mean, spread = fsum(values) / len(values), float(np.std(values, ddof=1))
    error = max(spread, resolution) / len(values) ** 0.5
    half_width = -float(stdtrit(len(values) - 1, (1 - confidence) / 2)) * error
    return Estimate(mean, max(mean - half_width, lowest), min(mean + half_width, highest), spread)


def paired_difference(
    first: FloatArray, second: FloatArray, resolution: float
) -> Difference | None:
    """The mean of first minus second, seed by seed.

    A seed gives every optimizer the same initial weights and the same order of examples, so pairing
    removes the variation that they share.

    Args:
        first: Shape (n_seeds,); NaN for a trial without a score.
        second: The other optimizer's, at the same seeds.
        resolution: The step in which the score can change, 1 / n_test for an accuracy. It bounds
            the standard deviation from below, since a few seeds may agree to the last example.

    Returns:
        None if both completed at fewer than two seeds.

    Source: Student 1908, as above.
    """
    differences = first - second
    differences = differences[np.isfinite(differences)]
    n = len(differences)
    if n < 2:
        return None
    mean = fsum(differences) / n
    spread = float(np.sum((differences - mean) ** 2) / (n - 1)) ** 0.5
    # The statistics divide by it, so it is neither 0 nor so small that they overflow.
    return Difference(n, mean, max(spread, resolution, 1e-100) / n**0.5)


def p_of_failures(first: FloatArray, second: FloatArray) -> float:
    """One-sided p of the hypothesis that the second fails no more often than the first.

    Args:
        first: Shape (n_seeds,); NaN for a trial without a score.
        second: The other optimizer's, at the same seeds.

    Source: McNemar 1947, Psychometrika 12(2), in its exact form, which looks only at the seeds at
        which just one of the two failed.
    """
    only_first = int(np.sum(np.isnan(first) & ~np.isnan(second)))
    only_second = int(np.sum(~np.isnan(first) & np.isnan(second)))
    return float(bdtrc(only_second - 1, only_first + only_second, 0.5)) if only_second else 1.0


def failure_interval(n_failed: int, n_trials: int, confidence: float) -> tuple[float, float]:
    """Exact confidence interval for the probability that a trial fails.

    Source: Clopper and Pearson 1934, Biometrika 26(4).
    """
    tail, n_others = (1 - confidence) / 2, n_trials - n_failed
    low = betaincinv(n_failed, n_others + 1, tail) if n_failed else 0.0
    high = betaincinv(n_failed + 1, n_others, 1 - tail) if n_others else 1.0
    return float(low), float(high)


def probability_of_improvement(first: FloatArray, second: FloatArray) -> float:
    """How likely a trial of the first scores above one of the second; equal scores count half.

    Args:
        first: Scores, one per trial; -inf for one that diverged or failed.
        second: The same for the other optimizer.

    Source: Mann and Whitney 1947, their U divided by n_first * n_second; recommended for few
        seeds by Agarwal et al. 2021, arXiv:2108.13264.
    """
    above, level = np.greater.outer(first, second), np.equal.outer(first, second)
    return float(above.mean() + level.mean() / 2)


def half_width_of_examples(first: FloatArray, second: FloatArray, confidence: float) -> float:
    """How far the choice of test examples alone may move the difference of two mean scores.

    More seeds tell nothing about this, since all trials are scored on the same examples.

    Args:
        first: Shape (n_test,), at least two: what each example adds to the score, as a mean over
            trials; for an accuracy the share of trials that are right on it.
        second: The same for the second optimizer, on the same examples.
        confidence: Level in (0, 1).

    Returns:
        Half the width of the normal interval of the mean paired difference over examples.

    Source: Dietterich 1998, Approximate statistical tests for comparing supervised classification
        learning algorithms, Neural Computation 10(7), on this source of variation.
    """
    error: float = float(np.std(first - second, ddof=1)) / len(first) ** 0.5
    return float(ndtri((1 + confidence) / 2)) * error
