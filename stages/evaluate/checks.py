"""Validity checks: is the experiment itself sound?

Each check is a function from the evidence to its findings; `CHECKS` names them all.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from stages.common.artifacts import Confirmed, Dataset, EpochRow, Finding, Pair, Run
from stages.common.params import Model
from stages.evaluate.criteria import enumerate_names, grid_points
from stages.evaluate.outcomes import Group, Outcome
from stages.evaluate.statistics import estimate, paired_difference

LARGE_SHARE = 0.5
LAST_PART = 0.2
# 784-100-10 on the whole of Fashion-MNIST, tuned, after 5 to 20 epochs.
FASHION_MNIST_BAND = (0.86, 0.905)
_MOMENTUM = ("momentum", "nesterov")


@dataclass(frozen=True)
class Evidence:
    """What the checks look at; mappings and pairs are of the optimizers at their tuned rates."""

    dataset: Dataset
    model: Model
    outcomes: Mapping[str, Outcome]
    pairs: Sequence[Pair]
    confidence: float
    margin: float

    def summary(self, name: str) -> Confirmed:
        return self.outcomes[name].tuned.summarise(self.confidence)


def find_faults(evidence: Evidence) -> tuple[Finding, ...]:
    """All that the checks find, in their order and by name."""
    return tuple(finding for check in CHECKS for finding in check(evidence))


def check_edge_of_grid(evidence: Evidence) -> Iterator[Finding]:
    """Tuning chose the lowest or the highest rate it was offered.

    Source: Godbole et al. 2023, Deep learning tuning playbook.
    """
    for extreme, further in (("lowest", "lower"), ("highest", "higher")):
        rates = {}
        for name, outcome in evidence.outcomes.items():
            grid = grid_points(outcome.tuning)
            edge = grid[0 if extreme == "lowest" else -1]
            factor = edge.learning_rate_factor
            is_chosen = factor == outcome.run.tuned_learning_rate_factor
            if len(grid) > 1 and is_chosen and outcome.tuned.completed:
                rates[name] = f"{name} ({edge.learning_rate:.3g})"
        if rates:
            yield Finding(
                "edge_of_grid",
                tuple(rates),
                f"Tuning chose the {extreme} learning rate of the grid for "
                f"{enumerate_names(list(rates.values()))}; a {further} one may do better still.",
                f"Configure a {further} learning_rate, or add a {further} factor to the grid.",
            )


def check_divergence(evidence: Evidence) -> Iterator[Finding]:
    """Trials diverged with fresh seeds, or half of those in tuning did."""
    for name, outcome in evidence.outcomes.items():
        tuned = outcome.tuned
        n_tuning = sum(row.status == "diverged" for row in outcome.tuning)
        if tuned.n_diverged:
            yield Finding(
                "divergence",
                (name,),
                f"{name}: {tuned.n_diverged} of {len(tuned.rows)} trials diverged with fresh "
                "seeds at the rate that tuning chose"
                f"{', and its scores are those of the others' * bool(tuned.completed)}.",
                "Set a lower learning_rate, or tune with more seeds.",
            )
        elif n_tuning >= LARGE_SHARE * len(outcome.tuning):
            yield Finding(
                "divergence",
                (name,),
                f"{name}: {n_tuning} of {len(outcome.tuning)} tuning trials diverged, so that "
                "much of its budget was lost.",
                "Set a lower learning_rate.",
            )


def check_still_improving(evidence: Evidence) -> Iterator[Finding]:
    """Validation accuracy rose by more than the margin in the last fifth of the epochs."""
    rises = {}
    for name, outcome in evidence.outcomes.items():
        gain = estimate(_last_gains(outcome.tuned), evidence.confidence)
        is_sure = gain.low is None or gain.low > 0
        if gain.mean is not None and gain.mean > evidence.margin and is_sure:
            rises[name] = f"{name} (by {gain.mean:.4f})"
    if rises:
        curve = evidence.outcomes[next(iter(rises))].tuned.curves[0]
        yield Finding(
            "still_improving",
            tuple(rises),
            f"Validation accuracy still rose in the last {_n_last(curve)} of {len(curve)} epochs, "
            f"for {enumerate_names(list(rises.values()))}; more may change the ranking.",
            "Raise train.epochs.",
        )


def check_tuning_misled(evidence: Evidence) -> Iterator[Finding]:
    """The configured rate is clearly better on fresh seeds than the one that tuning chose."""
    for name, outcome in evidence.outcomes.items():
        tuned, configured = (
            outcome.tuned.sample.accuracies,
            outcome.configured.sample.accuracies,
        )
        seeds = sorted(tuned.keys() & configured.keys())
        if len(seeds) < 2 or outcome.configured.n_diverged > outcome.tuned.n_diverged:
            continue
        difference = paired_difference(
            [tuned[seed] - configured[seed] for seed in seeds],
            evidence.confidence,
            resolution=1 / evidence.dataset.n_test,
        )
        if difference.high < 0:
            yield Finding(
                "tuning_misled",
                (name,),
                f"{name}: with fresh seeds the tuned rate is worse than the configured one, by "
                f"{-difference.mean:.4f} in test accuracy; probably chance misled the tuning.",
                "Tune with more seeds.",
            )


def check_identical_curves(evidence: Evidence) -> Iterator[Finding]:
    """Two optimizers have the same learning curves to the last digit."""
    for (one, first), (other, second) in combinations(evidence.outcomes.items(), 2):
        curves, others = (
            [
                [(row.train_loss, row.validation_loss, row.validation_accuracy) for row in curve]
                for curve in outcome.tuned.curves
            ]
            for outcome in (first, second)
        )
        if curves and curves == others:
            yield Finding(
                "identical_curves",
                (one, other),
                f"{one} and {other} have the same learning curves to the last digit: one optimizer "
                "under two names.",
                "Compare their settings.",
            )


def check_nesterov_behind_sgd(evidence: Evidence) -> Iterator[Finding]:
    """SGD with Nesterov momentum is clearly worse than the plain SGD that it contains.

    Source: Choi et al. 2019, arXiv:1910.05446: an optimizer tuned well is never behind one that it
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

    runs = {name: outcome.run for name, outcome in evidence.outcomes.items()}
    for pair in evidence.pairs:
        if pair.label == "better" and is_contained(runs[pair.first], runs[pair.second]):
            yield Finding(
                "nesterov_behind_sgd",
                (pair.second, pair.first),
                f"{pair.second} is clearly behind {pair.first}, which it contains, without "
                "momentum, as a case: probably its grid misses the good rates.",
                f"Set another learning_rate for {pair.second}.",
            )


def check_absent_classes(evidence: Evidence) -> Iterator[Finding]:
    """A split holds no image of some class."""
    dataset = evidence.dataset
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
                f"The {split} images hold none of class {enumerate_names(absent)}.",
                "Give more images of it."
                if split == "test"
                else "Set split.stratify, or give more images of it.",
            )


def check_guessing(evidence: Evidence) -> Iterator[Finding]:
    """Test accuracy is no better than naming the most frequent class every time."""
    counts = evidence.dataset.test_counts
    guessing = max(counts) / sum(counts)
    if guessing == 1:
        return
    # Two standard errors of a guess's accuracy on as many images.
    chance = min(guessing + 2 * (guessing * (1 - guessing) / sum(counts)) ** 0.5, 0.999)
    for name in evidence.outcomes:
        mean = evidence.summary(name).test_accuracy.mean
        if mean is not None and mean <= chance:
            yield Finding(
                "guessing",
                (name,),
                f"{name} learned nothing that shows: its test accuracy of {mean:.4f} is not "
                f"clearly better than always naming the most frequent class ({guessing:.4f}).",
                "Look for a better learning_rate, or for a fault in the data.",
            )


def check_known_band(evidence: Evidence) -> Iterator[Finding]:
    """The textbook's network on the whole of Fashion-MNIST does unbelievably well or badly."""
    is_textbook = (
        evidence.dataset.name == "fashion_mnist"
        and evidence.dataset.n_train >= 40_000
        and (evidence.model.name, evidence.model.hidden_units) == ("mlp", (100,))
    )
    means = {name: evidence.summary(name).test_accuracy.mean for name in evidence.outcomes}
    known = {name: mean for name, mean in means.items() if mean is not None}
    curves = [curve for outcome in evidence.outcomes.values() for curve in outcome.tuned.curves]
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


def check_test_images(evidence: Evidence) -> Iterator[Finding]:
    """What is sure over seeds, better or tied, is not sure over test images."""
    close = [
        pair
        for pair in evidence.pairs
        if pair.label != "undecided"
        and pair.mean_difference is not None
        and pair.test_set_half_width is not None
        and pair.test_set_half_width
        > (evidence.margin if pair.label == "tied" else pair.mean_difference)
    ]
    if close:
        named = enumerate_names(
            [
                f"{pair.first} {'and' if pair.label == 'tied' else 'over'} {pair.second}"
                for pair in close
            ]
        )
        yield Finding(
            "test_images",
            tuple(dict.fromkeys(name for pair in close for name in (pair.first, pair.second))),
            f"{named}: sure over seeds, but the choice of the {evidence.dataset.n_test:,} test "
            "images alone could make it otherwise.",
            "Test on more images before you rely on it.",
        )


CHECKS: tuple[Callable[[Evidence], Iterator[Finding]], ...] = (
    check_absent_classes,
    check_guessing,
    check_known_band,
    check_identical_curves,
    check_divergence,
    check_edge_of_grid,
    check_still_improving,
    check_tuning_misled,
    check_nesterov_behind_sgd,
    check_test_images,
)


def _last_gains(group: Group) -> list[float]:
    """By trial, validation accuracy at the last epoch less that before the last fifth of them."""
    return [
        (curve[-1].validation_accuracy or 0.0) - (curve[-1 - n_last].validation_accuracy or 0.0)
        for curve in group.curves
        if (n_last := _n_last(curve)) < len(curve)
    ]


def _n_last(curve: Sequence[EpochRow]) -> int:
    return max(1, round(LAST_PART * len(curve)))
