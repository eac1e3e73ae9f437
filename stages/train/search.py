"""Which settings tuning tries: pure functions from the trials so far to the next settings.

Every optimizer gets the same number of trials: `n_settings` settings with the tuning seeds, then
the best three with the final seeds. If only the learning rate is tuned, the grid grows while its
best setting is at an edge; the rest of the budget halves the step around the best. With further
arguments (`search`), settings are scrambled Halton points, and the rates grow in the same way.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import inf, log
from statistics import fmean
from typing import Any

import numpy as np

from stages.common.files import as_written
from stages.common.optimizer_params import Dimension, Optimizer, Range
from stages.common.params import Tuning
from stages.common.runs import Completed, TrialRow
from stages.common.score import Score

N_FINALISTS = 3
# The factor between neighbouring rates if the grid does not give one.
_STEP = 10**0.5
Merit = tuple[float, ...]
Arguments = tuple[tuple[str, Any], ...]


@dataclass(frozen=True)
class Point:
    """A setting: what the configured rate is multiplied by, and values of the searched arguments.

    An argument without a value here keeps its configured value.
    """

    factor: float
    arguments: Arguments = ()


CONFIGURED = Point(1.0)


def merit(rows: Sequence[TrialRow], score: Score) -> Merit:
    """How good a setting is, judged by its trials: the greater, the better.

    What counts first is the fewest trials that diverged or failed, then the best mean final
    validation score, then the lowest mean validation loss.
    """
    completed = [row for row in rows if isinstance(row, Completed)]
    n_lost = len(rows) - len(completed)
    if not completed:
        return (-n_lost,)
    mean = fmean(row.validation_score for row in completed)
    return -n_lost, score.merit(mean), -fmean(row.validation_loss for row in completed)


def next_points(merits: Mapping[Point, Merit], tuning: Tuning, optimizer: Optimizer) -> list[Point]:
    """The settings to try next; none if the budget is spent.

    There are none either if the next rate is 0 or infinite as a float, far beyond any useful rate.

    Args:
        merits: How good each setting tried so far is, in the order in which they were tried.
        tuning: The budget, the same for every optimizer.
        optimizer: Has the search space, and possibly factors of its own.
    """
    factors = optimizer.learning_rate_factors or tuning.learning_rate_factors
    n_left = tuning.n_settings - len(merits)
    if optimizer.search:
        # At first as many as without a search, then two at a time.
        n_next = min(n_left, 2) if merits else len(tuning.learning_rate_factors)
        return _next_in_space(merits, n_next, factors, optimizer.search)
    if not merits:
        return [Point(factor) for factor in factors]
    by_factor = {point.factor: given for point, given in merits.items()}
    candidates = _candidates(by_factor)[: max(n_left, 0)]
    return [Point(f) for f in candidates if 0 < f < inf and f not in by_factor]


def _candidates(merits: Mapping[float, Merit]) -> list[float]:
    """Factors beyond the best one if it is at an edge, else on both sides of it."""
    grid = sorted(merits)
    best = max(grid, key=lambda factor: merits[factor])
    place = grid.index(best)
    if len(grid) == 1:
        return [as_written(best / _STEP)]
    if place in (0, len(grid) - 1):
        inner = grid[1] if place == 0 else grid[-2]
        return [as_written(best * (best / inner))]
    # The side of the better neighbour first.
    sides = sorted(
        (grid[place - 1], grid[place + 1]), key=lambda factor: merits[factor], reverse=True
    )
    return [as_written((best * side) ** 0.5) for side in sides]


def _next_in_space(
    merits: Mapping[Point, Merit],
    n_next: int,
    factors: Sequence[float],
    space: Mapping[str, Dimension],
) -> list[Point]:
    """The configured setting and Halton points, or a rate beyond the best one if at an edge."""
    if n_next <= 0:
        return []
    tried = sorted({point.factor for point in merits})
    if len(factors) > 1 and len(tried) > 1:
        best = max(merits, key=lambda point: merits[point])
        beyond = None
        if best.factor == tried[0]:
            beyond = as_written(best.factor / _STEP)
        elif best.factor == tried[-1]:
            beyond = as_written(best.factor * _STEP)
        if beyond is not None and 0 < beyond < inf:
            return [replace(best, factor=beyond)]
    new = (point for point in _halton(factors, space) if point not in merits)
    # Points that are equal after rounding are one setting.
    return list(dict.fromkeys(next(new) for _ in range(10 * n_next)))[:n_next]


def _halton(factors: Sequence[float], space: Mapping[str, Dimension]) -> Iterator[Point]:
    """The configured setting, then scrambled Halton points over the rates and the dimensions.

    Source: Bousquet et al. 2017, Critical hyper-parameters: no random, no cry, arXiv:1706.03200.
    """
    # Imported here, so that only optimizers with a search wait for SciPy.
    from scipy.stats.qmc import Halton

    yield CONFIGURED
    names = sorted(space)
    sampler = Halton(len(names) + 1, scramble=True, rng=np.random.default_rng(0))
    rates = Range.model_construct(low=min(factors), high=max(factors), scale="log")
    while True:
        first, *others = sampler.random(1)[0].tolist()
        factor = factors[0] if len(factors) == 1 else _place(rates, first)
        values = ((name, _place(space[name], at)) for name, at in zip(names, others, strict=True))
        yield Point(factor, tuple(values))


def _place(dimension: Dimension, at: float) -> Any:
    """The value at this fraction of the dimension, on its scale."""
    if not isinstance(dimension, Range):
        return dimension.choices[int(at * len(dimension.choices))]
    low, high = dimension.low, dimension.high
    match dimension.scale:
        case "linear":
            value = low + at * (high - low)
        case "log":
            value = low * np.exp(at * log(high / low))
        case "one_minus_log":
            value = 1 - (1 - low) * np.exp(at * log((1 - high) / (1 - low)))
    return as_written(float(value))


def choose_finalists(merits: Mapping[Point, Merit]) -> list[Point]:
    """The best three settings, or all if there are fewer; of equals, those tried first."""
    return sorted(merits, key=lambda point: merits[point], reverse=True)[:N_FINALISTS]
