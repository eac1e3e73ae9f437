"""Validity checks: is the experiment itself sound?

Each check is a function from an experiment to its findings; `CHECKS` names them all.
"""

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import inf
from statistics import median

from stages.common.confirmation import ConfirmationRow
from stages.common.data import Dataset
from stages.common.params import BuiltInModel, ComparisonParams, Model
from stages.common.results import Finding, OptimizerResult, Pair
from stages.common.runs import EpochRow, Run, TrialRow
from stages.common.score import ACCURACY, R2, Score
from stages.evaluate.criteria import grid_points
from stages.evaluate.scored import ScoredRun
from stages.evaluate.verdict import enumerate_names
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
    for extreme, further in (("lowest", "lower"), ("highest", "higher")):
        rates = {}
        for name, run in experiment.runs.items():
            grid = grid_points(name, run)
            edge = grid[0 if extreme == "lowest" else -1]
            tuned = next((point for point in grid if point.choice in ("tuned", "both")), None)
            is_edge = tuned is not None and tuned.learning_rate == edge.learning_rate
            if is_edge and grid[0].learning_rate < grid[-1].learning_rate and run.tuned.completed:
                rates[name] = f"{name} ({edge.learning_rate:.3g})"
        if rates:
            yield Finding(
                "edge_of_grid",
                tuple(rates),
                f"Tuning ended at the {extreme} learning rate that it tried for "
                f"{enumerate_names(rates.values())}; a {further} one may do better still.",
                f"Configure a {further} learning_rate, or raise tuning.n_settings.",
            )


def check_failures(experiment: Experiment) -> Iterator[Finding]:
    """Trials diverged or failed with fresh seeds, or half of those in tuning did."""
    for name, run in experiment.runs.items():
        n_failed, n_trials = run.tuned.n_failed, len(run.tuned.rows)
        n_tuning = sum(row.outcome != "completed" for row in run.tuning)
        if n_failed:
            low, high = failure_interval(n_failed, n_trials, experiment.settings.confidence)
            others = "; its scores come from the others only" if n_failed < n_trials else ""
            yield Finding(
                "failures",
                (name,),
                f"{name}: {n_failed} of {n_trials} trials {_verb(run.tuned.rows)} with fresh seeds "
                f"(in the long run {100 * low:.0f} to {100 * high:.0f} %){others}.",
                "Set a lower learning_rate, or tune with more seeds.",
            )
        elif n_tuning >= LARGE_SHARE * len(run.tuning):
            yield Finding(
                "failures",
                (name,),
                f"{name}: {n_tuning} of {len(run.tuning)} tuning trials {_verb(run.tuning)}, so "
                "that much of its budget was lost.",
                "Set a lower learning_rate.",
            )


def check_stuck(experiment: Experiment) -> Iterator[Finding]:
    """Some seeds end no better than guessing and others far better: two modes of success."""
    chance = _chance(experiment, experiment.dataset.validation_counts)
    for name, run in experiment.runs.items():
        scores = [row.validation_score for row in run.tuned.completed]
        n_stuck = sum(score <= chance for score in scores)
        if 0 < n_stuck < len(scores):
            low, high = failure_interval(n_stuck, len(scores), experiment.settings.confidence)
            yield Finding(
                "stuck",
                (name,),
                f"{name}: {n_stuck} of {len(scores)} trials were not clearly better than guessing "
                f"(in the long run {100 * low:.0f} to {100 * high:.0f} %), so its mean describes "
                "no trial.",
                "Set a lower learning_rate, look for a better start, or validate on more examples.",
            )


def check_still_improving(experiment: Experiment) -> Iterator[Finding]:
    """The validation score gained more than the margin in the last fifth of the epochs."""
    rises = {}
    for name, run in experiment.runs.items():
        gain = estimate(_last_gains(run.curves, experiment.score), experiment.settings.confidence)
        is_sure = gain.low is None or gain.low > 0
        if gain.mean is not None and gain.mean > experiment.settings.margin and is_sure:
            rises[name] = f"{name} (by {gain.mean:.4f})"
    if rises:
        curve = experiment.runs[next(iter(rises))].curves[0]
        n_last = _n_last(curve)
        last = "epoch" if n_last == 1 else f"{n_last} of {len(curve)} epochs"
        yield Finding(
            "still_improving",
            tuple(rises),
            f"Validation {experiment.score.name} still improved in the last {last}, "
            f"for {enumerate_names(rises.values())}; more may change the ranking.",
            "Raise train.epochs.",
        )


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
            losses[name] = f"{name} (by {mean.mean:.4f})"
    if losses:
        yield Finding(
            "best_epoch",
            tuple(losses),
            f"Validation {score.name} was better at an earlier epoch than at the last, for "
            f"{enumerate_names(losses.values())}.",
            "Lower train.epochs, or try dropout or a smaller network.",
        )


def check_identical_curves(experiment: Experiment) -> Iterator[Finding]:
    """Optimizers have the same learning curves to the last digit."""
    names_of: dict[Hashable, list[str]] = {}
    for name, run in experiment.runs.items():
        rows = (row for curve in run.curves for row in curve)
        curves = tuple((r.train_loss, r.validation_loss, r.validation_score) for r in rows)
        names_of.setdefault(curves or name, []).append(name)
    for names in names_of.values():
        if len(names) > 1:
            yield Finding(
                "identical_curves",
                tuple(names),
                f"{enumerate_names(names)} have the same learning curves to the last digit, so "
                f"they are one optimizer under {len(names)} names.",
                "Compare their settings.",
            )


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
            yield Finding(
                "nesterov_behind_sgd",
                (pair.second, pair.first),
                f"{pair.second} is clearly behind {pair.first}, which is the same optimizer "
                "without momentum; its grid probably misses the good rates.",
                f"Set another learning_rate for {pair.second}.",
            )


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
        absent = [f"'{name}'" for name, count in pairs if count == 0]
        if absent:
            yield Finding(
                "absent_class",
                (),
                f"The {split} examples hold none of class {enumerate_names(absent)}.",
                "Give more examples of it."
                if split == "test"
                else "Set split.stratify, or give more examples of it.",
            )


def check_guessing(experiment: Experiment) -> Iterator[Finding]:
    """The test score is no better than predicting the same for every example."""
    counts, score = experiment.dataset.test_counts, experiment.score
    chance = _chance(experiment, counts)
    what = "that of always predicting the mean, 0"
    if counts:
        guessing = max(counts) / sum(counts)
        what = f"that of always predicting the most frequent class ({guessing:.4f})"
        if guessing == 1:
            return
    for name in experiment.runs:
        mean = experiment.results[name].tuned.test_score.mean
        if mean is not None and mean <= chance:
            yield Finding(
                "guessing",
                (name,),
                f"{name} did no better than guessing: its test {score.name} of {mean:.4f} is not "
                f"clearly above {what}.",
                "Look for a better learning_rate, or for a fault in the data.",
            )


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
        yield Finding(
            "known_band",
            (best,),
            f"The best test accuracy, {known[best]:.4f} of {best}, lies outside {low} to {high}, "
            "where this network is known to end on Fashion-MNIST.",
            "Look for a mistake in data or settings before you believe the ranking.",
        )


def check_test_examples(experiment: Experiment) -> Iterator[Finding]:
    """The margin is finer than the test examples can resolve, with any number of seeds."""
    widths = [
        pair.test_set_half_width
        for pair in experiment.pairs
        if pair.label != "better" and pair.test_set_half_width is not None
    ]
    n_test, margin, problem = experiment.dataset.n_test, experiment.settings.margin, ""
    if margin < experiment.score.resolution(n_test):
        problem = (
            f"The margin of {margin:g} is less than one of the {n_test:,} test examples "
            f"({1 / n_test:.4f}), the least by which two trials can differ."
        )
    elif widths and median(widths) > margin:
        problem = (
            f"The choice of the {n_test:,} test examples alone may move a difference by "
            f"{median(widths):.4f}, more than the margin of {margin:g}; no number of seeds makes "
            "up for that."
        )
    if problem:
        advice = "Set a larger comparison.margin, or test on more examples."
        yield Finding("margin", (), problem, advice)


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


def _verb(rows: Sequence[TrialRow | ConfirmationRow]) -> str:
    """How the trials ended that did not complete, such as `diverged or failed`."""
    outcomes = {row.outcome for row in rows} - {"completed"}
    return " or ".join(sorted(outcomes))
