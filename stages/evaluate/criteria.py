"""What else the trials say of an optimizer: speed, tolerance, memory, tuning budget."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import fsum, inf
from statistics import median

import numpy as np

from stages.common.artifacts import Criteria, EpochRow, FloatArray, TrialRow
from stages.evaluate.outcomes import Outcome
from stages.evaluate.statistics import expected_best

POINT = 0.01


@dataclass(frozen=True)
class GridPoint:
    """One learning rate's tuning trials; the mean is over the completed ones, None without any."""

    learning_rate_factor: float
    learning_rate: float
    validation_accuracy: float | None
    n_trials: int
    n_diverged: int


def grid_points(tuning: Iterable[TrialRow]) -> tuple[GridPoint, ...]:
    """The grid from its lowest learning rate to its highest."""
    by_factor: dict[float, list[TrialRow]] = {}
    for row in tuning:
        by_factor.setdefault(row.learning_rate_factor, []).append(row)

    def point(factor: float) -> GridPoint:
        rows = by_factor[factor]
        scores = [row.validation_accuracy for row in rows if row.validation_accuracy is not None]
        return GridPoint(
            learning_rate_factor=factor,
            learning_rate=rows[0].learning_rate,
            validation_accuracy=fsum(scores) / len(scores) if scores else None,
            n_trials=len(rows),
            n_diverged=sum(row.status == "diverged" for row in rows),
        )

    return tuple(point(factor) for factor in sorted(by_factor))


def measure(outcome: Outcome, *, target: float | None, guessing: float) -> Criteria:
    """Scores an optimizer by everything but its accuracy.

    Args:
        outcome: Its trials.
        target: Validation accuracy to be reached, a fraction; None where there is none to name.
        guessing: Accuracy of always naming the most frequent class of the validation images: what
            a diverged tuning trial leaves a person with.
    """
    grid = grid_points(outcome.tuning)
    low, high = good_rates(grid, outcome.run.tuned_learning_rate_factor)
    each = [_epochs_of(curve, target) for curve in outcome.tuned.curves]
    reached = sorted(epochs for epochs in each if epochs is not None)
    middle = median([*reached, *[inf] * (len(outcome.tuned.rows) - len(reached))])
    epochs = middle if middle < inf else None
    one = outcome.tuned.rows[0]
    trials = outcome.trials
    return Criteria(
        epochs_reached=tuple(reached),
        epochs_to_target=epochs,
        steps_to_target=epochs and epochs * one.n_steps / one.n_epochs,
        rate_low=low,
        rate_high=high,
        diverged_share=sum(row.status == "diverged" for row in trials) / len(trials),
        state_per_parameter=outcome.run.n_state / outcome.run.n_parameters,
        expected_best=expected_best([_score(point, guessing) for point in grid]),
    )


def epochs_to_target(accuracy: FloatArray, target: float) -> int | None:
    """First epoch at which validation accuracy reaches the target.

    Args:
        accuracy: Shape (n_epochs,), fractions; entry i is measured after epoch i + 1.
        target: Fraction in (0, 1].

    Returns:
        The 1-based epoch, or None if the target was never reached; report it, don't drop the trial.

    Source: time to target, Dahl et al. 2023, arXiv:2306.07179, counted in epochs.
    """
    reached = np.flatnonzero(accuracy >= target)
    return int(reached[0]) + 1 if len(reached) else None


def good_rates(grid: Sequence[GridPoint], tuned_factor: float) -> tuple[float, float]:
    """Lowest and highest rate of the grid's stretch that does about as well as the tuned one.

    Its rates have no diverged trial and a mean validation accuracy at most a point (0.01) below
    that of the tuned rate, which is always part of it.

    Source: Sivaprasad et al. 2020, arXiv:1910.11758, on how much tuning an optimizer needs.
    """
    tuned = next(i for i, each in enumerate(grid) if each.learning_rate_factor == tuned_factor)
    least = (grid[tuned].validation_accuracy or 0.0) - POINT

    def is_good(point: GridPoint) -> bool:
        accuracy = point.validation_accuracy
        return point.n_diverged == 0 and accuracy is not None and accuracy >= least

    low = high = tuned
    while low > 0 and is_good(grid[low - 1]):
        low -= 1
    while high < len(grid) - 1 and is_good(grid[high + 1]):
        high += 1
    return grid[low].learning_rate, grid[high].learning_rate


def advise_budget(expected: Mapping[str, Sequence[float]]) -> str:
    """Says which optimizer to take if only so many learning rates can be tried.

    Args:
        expected: By name, the best validation accuracy to be expected of k rates, for each k.
            Optimizers within a point (0.01) of the best are named with it, since tuning's few
            seeds tell no finer.

    Returns:
        A sentence; empty for one optimizer.
    """
    if len(expected) == 1:
        return ""
    ranges: list[tuple[str, int, int]] = []
    for k in range(1, 1 + min(map(len, expected.values()))):
        best = max(scores[k - 1] for scores in expected.values())
        near = [name for name in sorted(expected) if expected[name][k - 1] >= best - POINT]
        choice = enumerate_names(near, "or") if len(near) < len(expected) else "any"
        first = k
        if ranges and ranges[-1][0] == choice:
            _, first, _ = ranges.pop()
        ranges.append((choice, first, k))
    (choice, low, high), *others = ranges
    start = (
        f"If you can try only {_count(low, high)} learning rate{'s' * (high > 1)}, take {choice}"
    )
    rest = [f"for {_count(low, high)}, {name}" for name, low, high in others]
    return f"{'; '.join([start, *rest])} (expected validation accuracy within {POINT:g})."


def enumerate_names(names: Sequence[str], word: str = "and") -> str:
    """`a`, `a and b`, `a, b and c`."""
    *most, last = names
    return f"{', '.join(most)} {word} {last}" if most else last


def _count(low: int, high: int) -> str:
    return f"{low}" if low == high else f"{low} {'or' if high == low + 1 else 'to'} {high}"


def _epochs_of(curve: Sequence[EpochRow], target: float | None) -> int | None:
    if target is None:
        return None
    return epochs_to_target(np.array([row.validation_accuracy or 0.0 for row in curve]), target)


def _score(point: GridPoint, guessing: float) -> float:
    completed = point.n_trials - point.n_diverged
    total = completed * (point.validation_accuracy or 0.0) + point.n_diverged * guessing
    return total / point.n_trials
