"""What else the trials say of an optimizer: speed, tolerance, memory."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import fsum, inf
from statistics import median

import numpy as np

from stages.common.files import FloatArray
from stages.common.results import Criteria
from stages.common.runs import Completed, EpochRow, Run, TrialRow
from stages.evaluate.scored import ScoredRun

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


def measure(scored: ScoredRun, *, target: float | None) -> Criteria:
    """Scores an optimizer by everything but its accuracy.

    Args:
        scored: Its trials.
        target: Validation accuracy to be reached, a fraction; None where there is none to name.
    """
    run, trials = scored.run, scored.trials
    low, high = good_rates(grid_points(run, scored.tuning), run.tuned)
    epochs_of = [_epochs_of(curve, target) for curve in scored.curves]
    reached = sorted(epochs for epochs in epochs_of if epochs is not None)
    middle = median([*reached, *[inf] * (scored.n_curves - len(reached))])
    epochs = middle if middle < inf else None
    n_completed = sum(row.outcome == "completed" for row in trials)
    return Criteria(
        epochs_reached=tuple(reached),
        n_trials=scored.n_curves,
        epochs_to_target=epochs,
        steps_to_target=None if epochs is None else epochs * scored.n_steps_per_epoch,
        rate_low=low,
        rate_high=high,
        failed_share=1 - n_completed / len(trials),
        state_per_parameter=run.n_state / run.n_parameters,
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


def _epochs_of(curve: Sequence[EpochRow], target: float | None) -> int | None:
    if target is None:
        return None
    return epochs_to_target(np.array([row.validation_accuracy for row in curve]), target)
