"""Which settings tune an optimizer: pure functions from the trials so far to the next ones.

Every optimizer gets the same number of trials: `n_settings` settings with the tuning seeds, then
the best three with the final seeds. The grid grows while its best setting lies at an edge; what is
left of the budget halves the step around the best.
"""

from collections.abc import Mapping, Sequence
from math import inf
from statistics import fmean

from stages.common.files import as_written
from stages.common.params import Tuning
from stages.common.runs import Completed, TrialRow
from stages.common.score import Score

CONFIGURED = 1.0
N_FINALISTS = 3
# Between two settings where there is only one to go by.
_STEP = 10**0.5
Merit = tuple[float, ...]


def merit(rows: Sequence[TrialRow], score: Score) -> Merit:
    """How good a setting is by its trials; of two, the greater is better.

    First the fewest trials that diverged or failed, then the best mean final validation score,
    then the lowest mean validation loss.
    """
    completed = [row for row in rows if isinstance(row, Completed)]
    n_lost = len(rows) - len(completed)
    if not completed:
        return (-n_lost,)
    mean = fmean(row.validation_score for row in completed)
    return -n_lost, score.merit(mean), -fmean(row.validation_loss for row in completed)


def next_factors(merits: Mapping[float, Merit], tuning: Tuning) -> list[float]:
    """The learning-rate factors to try now, at most two; none where the budget is spent.

    None as well where a float can hold no further one, far beyond what any optimizer can use.

    Args:
        merits: Of the factors tried so far, in the order in which they were tried.
        tuning: The budget.
    """
    if not merits:
        return list(tuning.learning_rate_factors)
    n_left = tuning.n_settings - len(merits)
    if n_left <= 0:
        return []
    return [f for f in _candidates(merits)[:n_left] if 0 < f < inf and f not in merits]


def _candidates(merits: Mapping[float, Merit]) -> list[float]:
    """Beyond the best where it lies at an edge, else on both sides of it."""
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


def choose_finalists(merits: Mapping[float, Merit]) -> list[float]:
    """The best three factors, or all where there are fewer; the first tried between equals."""
    return sorted(merits, key=lambda factor: merits[factor], reverse=True)[:N_FINALISTS]
