"""Which trials tune an optimizer, and which setting they decide for: pure functions."""

from collections.abc import Sequence
from statistics import fmean

from stages.common.params import Tuning
from stages.common.runs import Completed, TrialRow
from stages.engine.trial import Trial

CONFIGURED = 1.0


def plan_settings(tuning: Tuning) -> tuple[float, ...]:
    """Every learning-rate factor that trials are made with: the grid, and 1 if it is not in it."""
    return tuple(dict.fromkeys((*tuning.learning_rate_factors, CONFIGURED)))


def plan_tuning(tuning: Tuning) -> list[Trial]:
    """Every learning rate of the grid with every tuning seed."""
    return [
        Trial("tuning", factor, seed, setting)
        for setting, factor in enumerate(tuning.learning_rate_factors)
        for seed in tuning.seeds
    ]


def choose_setting(rows: Sequence[TrialRow]) -> int:
    """The setting that the tuning trials decide for.

    The one with the fewest trials that diverged or failed, then the highest mean final validation
    accuracy over the tuning seeds, then the lowest mean validation loss; the first of the grid
    between equals.
    """

    def merit(setting: int) -> tuple[float, ...]:
        of_setting = [row for row in rows if row.setting == setting]
        completed = [row for row in of_setting if isinstance(row, Completed)]
        n_lost = len(of_setting) - len(completed)
        if not completed:
            return (-n_lost,)
        accuracy = fmean(row.validation_accuracy for row in completed)
        return -n_lost, accuracy, -fmean(row.validation_loss for row in completed)

    return max(dict.fromkeys(row.setting for row in rows), key=merit)
