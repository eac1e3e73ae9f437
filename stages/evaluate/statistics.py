"""Estimates over seeds."""

from collections.abc import Sequence
from math import inf

import numpy as np
from scipy import stats

from stages.common.artifacts import Estimate


def estimate(
    values: Sequence[float], confidence: float, *, lowest: float = -inf, highest: float = inf
) -> Estimate:
    """Mean with Student's t-interval.

    Student's, because the percentile bootstrap of a mean covers far too little at the three to ten
    seeds that people can afford.

    Args:
        values: One per seed; trials that diverged are not among them.
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
    mean, spread = float(np.mean(values)), float(np.std(values, ddof=1))
    quantile = float(stats.t.ppf((1 + confidence) / 2, df=len(values) - 1))
    half_width = quantile * spread / len(values) ** 0.5
    low, high = max(mean - half_width, lowest), min(mean + half_width, highest)
    return Estimate(mean=mean, low=low, high=high, standard_deviation=spread)
