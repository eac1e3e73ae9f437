"""What the trials tell about an optimizer besides its score: speed, tolerance, memory."""

from collections.abc import Sequence
from math import fsum, inf
from statistics import median

from stages.common.results import Choice, Criteria, TuningPoint
from stages.common.runs import Completed, EpochRow, TrialRow
from stages.common.score import Score
from stages.evaluate.scored import ScoredRun


def grid_points(name: str, scored: ScoredRun) -> tuple[TuningPoint, ...]:
    """The grid by ascending learning rate; means are over the completed trials."""
    run = scored.run
    by_setting: dict[int, list[TrialRow]] = {}
    for row in scored.tuning:
        by_setting.setdefault(row.setting, []).append(row)

    def choice(setting: int) -> Choice:
        if setting == run.configured:
            return "both" if setting == run.tuned else "configured"
        return "tuned" if setting == run.tuned else "neither"

    def point(setting: int) -> TuningPoint:
        rows = by_setting[setting]
        scores = [row.validation_score for row in rows if isinstance(row, Completed)]
        return TuningPoint(
            optimizer=name,
            learning_rate_factor=run.settings[setting].learning_rate_factor,
            learning_rate=run.settings[setting].learning_rate,
            validation_score=fsum(scores) / len(scores) if scores else None,
            n_trials=len(rows),
            n_failed=len(rows) - len(scores),
            choice=choice(setting),
            arguments="; ".join(f"{k}={v}" for k, v in run.settings[setting].arguments.items())
            or None,
        )

    return tuple(sorted(map(point, by_setting), key=lambda p: p.learning_rate_factor))


def measure(
    name: str, scored: ScoredRun, score: Score, *, target: float | None, margin: float
) -> Criteria:
    """Judges an optimizer by everything but its score.

    Args:
        name: The optimizer's name.
        scored: Its trials.
        score: What the trials are judged by.
        target: The validation score to reach; None if there is none.
        margin: A loss of score that makes no difference.
    """
    run, trials = scored.run, scored.trials
    low, high = good_rates(grid_points(name, scored), score, margin)
    goal = inf if target is None else score.merit(target)
    found = [epochs_to_target(curve, goal, score) for curve in scored.curves]
    reached = sorted(epoch for epoch in found if epoch is not None)
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


def epochs_to_target(curve: Sequence[EpochRow], target: float, score: Score) -> int | None:
    """First epoch, from 1, at which the merit of the validation score reaches the target.

    Returns:
        None if the target was never reached; report it, don't drop the trial.

    Source: time to target, Dahl et al. 2023, arXiv:2306.07179, counted in epochs.
    """
    return next((row.epoch for row in curve if score.merit(row.validation_score) >= target), None)


def good_rates(grid: Sequence[TuningPoint], score: Score, margin: float) -> tuple[float, float]:
    """Lowest and highest of the neighbouring rates that do about as well as the tuned one.

    These have no failed trial and a mean validation score at most the margin behind that of the
    tuned rate, which is always among them.

    Source: Sivaprasad et al. 2020, arXiv:1910.11758, on how much tuning an optimizer needs.
    """
    middle = next(i for i, point in enumerate(grid) if point.choice in ("tuned", "both"))
    best = grid[middle].validation_score

    def is_good(point: TuningPoint) -> bool:
        if best is None or point.validation_score is None or point.n_failed:
            return False
        return score.merit(point.validation_score) >= score.merit(best) - margin

    low = high = middle
    while low > 0 and is_good(grid[low - 1]):
        low -= 1
    while high < len(grid) - 1 and is_good(grid[high + 1]):
        high += 1
    return grid[low].learning_rate, grid[high].learning_rate
