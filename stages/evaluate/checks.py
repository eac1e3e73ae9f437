"""Validity checks: is the experiment itself sound?

Each check is a function from an experiment to its findings; `CHECKS` names them all.
"""

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import inf
from statistics import median
from typing import Any

from stages.common.confirmation import ConfirmationRow
from stages.common.data import Dataset
from stages.common.params import BuiltInModel, ComparisonParams, Model
from stages.common.results import Finding, OptimizerResult, Pair
from stages.common.runs import EpochRow, Run, TrialRow
from stages.common.score import ACCURACY, R2, Score
from stages.evaluate.criteria import grid_points
from stages.evaluate.scored import ScoredRun
from stages.inference.estimates import estimate, failure_interval

LARGE_SHARE = 0.5
LAST_PART = 0.2
# 784-100-10 on the whole of Fashion-MNIST, tuned, after 5 to 20 epochs.
FASHION_MNIST_BAND = (0.86, 0.905)
_MOMENTUM = ("momentum", "nesterov")


@dataclass(frozen=True)
class Experiment:
    """What the checks look at; mappings are by optimizer, pairs compare tuned rates."""

    dataset: Dataset
    model: Model
    score: Score
    runs: Mapping[str, ScoredRun]
    results: Mapping[str, OptimizerResult]
    pairs: Sequence[Pair]
    settings: ComparisonParams


def find_faults(experiment: Experiment) -> tuple[Finding, ...]:
    """All findings, in the order of `CHECKS`."""
    return tuple(finding for check in CHECKS for finding in check(experiment))


def check_edge_of_grid(experiment: Experiment) -> Iterator[Finding]:
    """Tuning ended at the lowest or the highest rate, although it went beyond the first ones.

    Source: Godbole et al. 2023, Deep learning tuning playbook.
    """
    for extreme, place in (("lowest", 0), ("highest", -1)):
        rates = {}
        for name, run in experiment.runs.items():
            grid = grid_points(name, run)
            edge = grid[place]
            tuned = next((point for point in grid if point.choice in ("tuned", "both")), None)
            is_edge = tuned is not None and tuned.learning_rate == edge.learning_rate
            if is_edge and grid[0].learning_rate < grid[-1].learning_rate and run.tuned.completed:
                rates[name] = edge.learning_rate
        if rates:
            facts = {"extreme": extreme, "rates": rates}
            yield Finding("edge_of_grid", tuple(rates), facts)


def check_failures(experiment: Experiment) -> Iterator[Finding]:
    """Trials diverged or failed with fresh seeds, or half of those in tuning did."""
    for name, run in experiment.runs.items():
        n_failed, n_trials = run.tuned.n_failed, len(run.tuned.rows)
        n_tuning = sum(row.outcome != "completed" for row in run.tuning)
        if n_failed:
            facts = _share(n_failed, n_trials, experiment.settings.confidence)
            facts["outcomes"] = _outcomes(run.tuned.rows)
            yield Finding("failures", (name,), facts)
        elif n_tuning >= LARGE_SHARE * len(run.tuning):
            facts = {"n": n_tuning, "n_trials": len(run.tuning), "outcomes": _outcomes(run.tuning)}
            yield Finding("failures_in_tuning", (name,), facts)


def check_stuck(experiment: Experiment) -> Iterator[Finding]:
    """Some seeds end no better than guessing and others far better: two modes of success."""
    chance = _chance(experiment, experiment.dataset.validation_counts)
    for name, run in experiment.runs.items():
        scores = [row.validation_score for row in run.tuned.completed]
        n_stuck = sum(score <= chance for score in scores)
        if 0 < n_stuck < len(scores):
            facts = _share(n_stuck, len(scores), experiment.settings.confidence)
            yield Finding("stuck", (name,), facts)


def check_still_improving(experiment: Experiment) -> Iterator[Finding]:
    """The validation score gained more than the margin in the last fifth of the epochs."""
    gains = {}
    for name, run in experiment.runs.items():
        gain = estimate(_last_gains(run.curves, experiment.score), experiment.settings.confidence)
        is_sure = gain.low is None or gain.low > 0
        if gain.mean is not None and gain.mean > experiment.settings.margin and is_sure:
            gains[name] = gain.mean
    if gains:
        curve = experiment.runs[next(iter(gains))].curves[0]
        facts = {"gains": gains, "n_last": _n_last(curve), "n_epochs": len(curve)}
        yield Finding("still_improving", tuple(gains), facts)


def check_best_epoch(experiment: Experiment) -> Iterator[Finding]:
    """The validation score was better before the end, by more than the margin."""
    score, losses = experiment.score, {}
    for name, run in experiment.runs.items():
        lost = [
            score.merit(row.best_validation_score - row.validation_score)
            for row in run.tuned.completed
        ]
        mean = estimate(lost, experiment.settings.confidence)
        if mean.low is not None and mean.low > experiment.settings.margin:
            losses[name] = mean.mean
    if losses:
        yield Finding("best_epoch", tuple(losses), {"losses": losses})


def check_identical_curves(experiment: Experiment) -> Iterator[Finding]:
    """Optimizers have the same learning curves to the last digit."""
    names_of: dict[Hashable, list[str]] = {}
    for name, run in experiment.runs.items():
        rows = (row for curve in run.curves for row in curve)
        curves = tuple((r.train_loss, r.validation_loss, r.validation_score) for r in rows)
        names_of.setdefault(curves or name, []).append(name)
    for names in names_of.values():
        if len(names) > 1:
            yield Finding("identical_curves", tuple(names), {})


def check_nesterov_behind_sgd(experiment: Experiment) -> Iterator[Finding]:
    """SGD with Nesterov momentum is clearly worse than the plain SGD that it contains.

    Source: Choi et al. 2019, arXiv:1910.05446: a well-tuned optimizer is never behind one that it
        contains.
    """

    def is_contained(first: Run, second: Run) -> bool:
        plain, nesterov = first.optimizer, second.optimizer
        return (
            first.class_name == second.class_name == "SGD"
            and not plain.get("momentum")
            and bool(nesterov.get("momentum") and nesterov.get("nesterov"))
            and all(nesterov.get(k) == v for k, v in plain.items() if k not in _MOMENTUM)
        )

    runs = {name: run.run for name, run in experiment.runs.items()}
    for pair in experiment.pairs:
        if pair.label == "better" and is_contained(runs[pair.first], runs[pair.second]):
            yield Finding("nesterov_behind_sgd", (pair.second, pair.first), {})


def check_absent_classes(experiment: Experiment) -> Iterator[Finding]:
    """A split holds no example of some class."""
    dataset = experiment.dataset
    splits = {
        "training": dataset.train_counts,
        "validation": dataset.validation_counts,
        "test": dataset.test_counts,
    }
    for split, counts in splits.items():
        pairs = zip(dataset.class_names, counts, strict=True)
        absent = [name for name, count in pairs if count == 0]
        if absent:
            yield Finding("absent_class", (), {"split": split, "classes": absent})


def check_guessing(experiment: Experiment) -> Iterator[Finding]:
    """The test score is no better than predicting the same for every example."""
    counts = experiment.dataset.test_counts
    chance = _chance(experiment, counts)
    guess = {"by": "mean", "guess": 0.0}
    if counts:
        guess = {"by": "class", "guess": max(counts) / sum(counts)}
        if guess["guess"] == 1:
            return
    for name in experiment.runs:
        mean = experiment.results[name].tuned.test_score.mean
        if mean is not None and mean <= chance:
            yield Finding("guessing", (name,), {"mean": mean, **guess})


def check_known_band(experiment: Experiment) -> Iterator[Finding]:
    """The textbook's network on the whole of Fashion-MNIST does implausibly well or badly."""
    is_textbook = (
        experiment.dataset.name == "fashion_mnist"
        and experiment.score.keras_name == ACCURACY
        and isinstance(experiment.model, BuiltInModel)
        and experiment.dataset.n_train >= 40_000
        and (experiment.model.name, experiment.model.hidden_units) == ("mlp", (100,))
    )
    means = {name: experiment.results[name].tuned.test_score.mean for name in experiment.runs}
    known = {name: mean for name, mean in means.items() if mean is not None}
    curves = [curve for run in experiment.runs.values() for curve in run.curves]
    if not is_textbook or not known or max(map(len, curves)) < 5:
        return
    low, high = FASHION_MNIST_BAND
    best = max(known, key=lambda name: known[name])
    if not low <= known[best] <= high:
        facts = {"accuracy": known[best], "low": low, "high": high}
        yield Finding("known_band", (best,), facts)


def check_test_examples(experiment: Experiment) -> Iterator[Finding]:
    """The margin is finer than the test examples can resolve, with any number of seeds."""
    widths = [
        pair.test_set_half_width
        for pair in experiment.pairs
        if pair.label != "better" and pair.test_set_half_width is not None
    ]
    n_test, margin = experiment.dataset.n_test, experiment.settings.margin
    if margin < experiment.score.resolution(n_test):
        yield Finding("margin_below_an_example", (), {"n_test": n_test})
    elif widths and median(widths) > margin:
        facts = {"n_test": n_test, "half_width": median(widths)}
        yield Finding("margin_below_the_test_examples", (), facts)


CHECKS: tuple[Callable[[Experiment], Iterator[Finding]], ...] = (
    check_absent_classes,
    check_guessing,
    check_known_band,
    check_identical_curves,
    check_failures,
    check_stuck,
    check_edge_of_grid,
    check_still_improving,
    check_best_epoch,
    check_nesterov_behind_sgd,
    check_test_examples,
)


def _last_gains(curves: Sequence[Sequence[EpochRow]], score: Score) -> list[float]:
    """How much each trial's validation score improved in the last fifth of the epochs."""
    return [
        score.merit(curve[-1].validation_score - curve[-1 - n_last].validation_score)
        for curve in curves
        if (n_last := _n_last(curve)) < len(curve)
    ]


def _chance(experiment: Experiment, counts: Sequence[int]) -> float:
    """The score that guessing may reach on a split; below every score where that is not known.

    For accuracy it is that of always predicting the most frequent class, plus two standard errors;
    for R² it is 0, that of always predicting the mean.

    Args:
        experiment: Says which score is used.
        counts: The number of the split's examples in each class.
    """
    name = experiment.score.keras_name
    if name != ACCURACY:
        return 0.0 if name == R2 else -inf
    guessing = max(counts) / sum(counts)
    error: float = (guessing * (1 - guessing) / sum(counts)) ** 0.5
    return min(guessing + 2 * error, 0.999)


def _n_last(curve: Sequence[EpochRow]) -> int:
    return max(1, round(LAST_PART * len(curve)))


def _share(n: int, n_trials: int, confidence: float) -> dict[str, Any]:
    """How many of the trials, and between which shares of them it lies in the long run."""
    low, high = failure_interval(n, n_trials, confidence)
    return {"n": n, "n_trials": n_trials, "low": low, "high": high}


def _outcomes(rows: Sequence[TrialRow | ConfirmationRow]) -> list[str]:
    """How the trials ended that did not complete."""
    return sorted({row.outcome for row in rows} - {"completed"})
