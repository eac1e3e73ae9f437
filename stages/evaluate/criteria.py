"""What else the trials say of an optimizer: speed, tolerance, memory, tuning budget."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import fsum, inf
from statistics import median

import numpy as np

from stages.common.files import FloatArray
from stages.common.results import Criteria
from stages.common.runs import Completed, EpochRow, Run, TrialRow
from stages.evaluate.scored import ScoredRun
from stages.evaluate.statistics import expected_best

POINT = 0.01


@dataclass(frozen=True)
class GridPoint:
    """One setting's tuning trials; the mean is over the completed ones, None without any."""

    setting: int
    learning_rate_factor: float
    learning_rate: float
    validation_accuracy: float | None
    n_trials: int
    n_failed: int


def grid_points(run: Run, tuning: Iterable[TrialRow]) -> tuple[GridPoint, ...]:
    """The grid from its lowest learning rate to its highest."""
    by_setting: dict[int, list[TrialRow]] = {}
    for row in tuning:
        by_setting.setdefault(row.setting, []).append(row)

    def point(setting: int) -> GridPoint:
        rows = by_setting[setting]
        scores = [row.validation_accuracy for row in rows if isinstance(row, Completed)]
        return GridPoint(
            setting=setting,
            learning_rate_factor=run.settings[setting].learning_rate_factor,
            learning_rate=run.settings[setting].learning_rate,
            validation_accuracy=fsum(scores) / len(scores) if scores else None,
            n_trials=len(rows),
            n_failed=len(rows) - len(scores),
        )

    return tuple(sorted(map(point, by_setting), key=lambda p: p.learning_rate_factor))


def measure(scored: ScoredRun, *, target: float | None, guessing: float) -> Criteria:
    """Scores an optimizer by everything but its accuracy.

    Args:
        scored: Its trials.
        target: Validation accuracy to be reached, a fraction; None where there is none to name.
        guessing: Accuracy of always naming the most frequent class of the validation images: what
            a failed tuning trial leaves a person with.
    """
    run, tuned, trials = scored.run, scored.tuned, scored.trials
    grid = grid_points(run, scored.tuning)
    low, high = good_rates(grid, run.tuned)
    epochs_of = [_epochs_of(curve, target) for curve in tuned.curves]
    reached = sorted(epochs for epochs in epochs_of if epochs is not None)
    middle = median([*reached, *[inf] * (len(tuned.rows) - len(reached))])
    epochs = middle if middle < inf else None
    steps = None
    if epochs is not None:
        steps = epochs * tuned.completed[0].n_steps / tuned.completed[0].n_epochs
    n_completed = sum(isinstance(row, Completed) for row in trials)
    return Criteria(
        epochs_reached=tuple(reached),
        epochs_to_target=epochs,
        steps_to_target=steps,
        rate_low=low,
        rate_high=high,
        failed_share=1 - n_completed / len(trials),
        state_per_parameter=run.n_state / run.n_parameters,
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


def good_rates(grid: Sequence[GridPoint], tuned: int) -> tuple[float, float]:
    """Lowest and highest rate of the grid's stretch that does about as well as the tuned one.

    Its rates have no failed trial and a mean validation accuracy at most a point (0.01) below
    that of the tuned rate, which is always part of it.

    Source: Sivaprasad et al. 2020, arXiv:1910.11758, on how much tuning an optimizer needs.
    """
    middle = next(i for i, point in enumerate(grid) if point.setting == tuned)
    best = grid[middle].validation_accuracy

    def is_good(point: GridPoint) -> bool:
        if best is None or point.validation_accuracy is None or point.n_failed:
            return False
        return point.validation_accuracy >= best - POINT

    low = high = middle
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
        f"If you can try only {_count(low, high)} learning rate{'s' if high > 1 else ''}, "
        f"take {choice}"
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
    return epochs_to_target(np.array([row.validation_accuracy for row in curve]), target)


def _score(point: GridPoint, guessing: float) -> float:
    if point.validation_accuracy is None:
        return guessing
    n_completed = point.n_trials - point.n_failed
    total = n_completed * point.validation_accuracy + point.n_failed * guessing
    return total / point.n_trials
