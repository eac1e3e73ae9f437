"""Puts what the validity checks of `stages/evaluate/checks.py` found into words."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from stages.common.results import Finding
from stages.common.score import Score
from stages.common.words import enumerate_names


@dataclass(frozen=True)
class _Found:
    """A finding, with what its words need besides the facts.

    `names` are its optimizers as a list in words, `score` is the score's name, and `style` is the
    format of scores.
    """

    optimizers: tuple[str, ...]
    facts: Mapping[str, Any]
    names: str
    score: str
    margin: str
    style: str

    def each(self, values: Mapping[str, float], style: str, before: str = "") -> str:
        """The optimizers as a list in words, each with its value."""
        return enumerate_names(f"{name} ({before}{values[name]:{style}})" for name in values)

    @property
    def long_run(self) -> str:
        low, high = self.facts["low"], self.facts["high"]
        return f"in the long run {100 * low:.0f} to {100 * high:.0f} %"

    @property
    def share(self) -> str:
        return f"{self.facts['n']} of {self.facts['n_trials']}"


def word(finding: Finding, score: Score, margin: float, style: str) -> str:
    """What is wrong and what to do about it.

    Args:
        finding: What a check found.
        score: By which the optimizers are compared.
        margin: The loss of score that makes no difference.
        style: The format of scores, such as `.4f`.
    """
    found = _Found(
        optimizers=finding.optimizers,
        facts=finding.facts,
        names=enumerate_names(finding.optimizers) if finding.optimizers else "",
        score=score.name,
        margin=f"{margin:g}",
        style=style,
    )
    return WORDS[finding.check](found)


def _absent_class(found: _Found) -> str:
    split = found.facts["split"]
    classes = enumerate_names(f"'{name}'" for name in found.facts["classes"])
    give = "Give" if split == "test" else "Set split.stratify, or give"
    return f"The {split} examples hold none of class {classes}. {give} more examples of it."


def _guessing(found: _Found) -> str:
    guess = {
        "mean": "that of always predicting the mean, 0",
        "class": "that of always predicting the most frequent class "
        f"({found.facts['guess']:{found.style}})",
    }[found.facts["by"]]
    return (
        f"{found.names} did no better than guessing: its test {found.score} of "
        f"{found.facts['mean']:{found.style}} is not clearly above {guess}. "
        "Look for a better learning_rate, or for a fault in the data."
    )


def _known_band(found: _Found) -> str:
    facts = found.facts
    return (
        f"The best test accuracy, {facts['accuracy']:{found.style}} of {found.names}, lies outside "
        f"{facts['low']} to {facts['high']}, where this network is known to end on Fashion-MNIST. "
        "Look for a mistake in data or settings before you believe the ranking."
    )


def _identical_curves(found: _Found) -> str:
    return (
        f"{found.names} have the same learning curves to the last digit, so they are one optimizer "
        f"under {len(found.optimizers)} names. "
        "Compare their settings."
    )


def _failures(found: _Found) -> str:
    ended = " or ".join(found.facts["outcomes"])
    others = "; its scores come from the others only"
    return (
        f"{found.names}: {found.share} trials {ended} with fresh seeds ({found.long_run})"
        f"{others if found.facts['n'] < found.facts['n_trials'] else ''}. "
        "Set a lower learning_rate, or tune with more seeds."
    )


def _failures_in_tuning(found: _Found) -> str:
    ended = " or ".join(found.facts["outcomes"])
    return (
        f"{found.names}: {found.share} tuning trials {ended}, so that much of its budget was lost. "
        "Set a lower learning_rate."
    )


def _stuck(found: _Found) -> str:
    return (
        f"{found.names}: {found.share} trials were not clearly better than guessing "
        f"({found.long_run}), so its mean describes no trial. "
        "Set a lower learning_rate, look for a better start, or validate on more examples."
    )


def _edge_of_grid(found: _Found) -> str:
    extreme = found.facts["extreme"]
    further = {"lowest": "lower", "highest": "higher"}[extreme]
    return (
        f"Tuning ended at the {extreme} learning rate that it tried for "
        f"{found.each(found.facts['rates'], '.3g')}; a {further} one may do better still. "
        f"Configure a {further} learning_rate, or raise tuning.n_settings."
    )


def _still_improving(found: _Found) -> str:
    n_last, n_epochs = found.facts["n_last"], found.facts["n_epochs"]
    last = "epoch" if n_last == 1 else f"{n_last} of {n_epochs} epochs"
    return (
        f"Validation {found.score} still improved in the last {last}, for "
        f"{found.each(found.facts['gains'], found.style, 'by ')}; more may change the ranking. "
        "Raise train.epochs."
    )


def _best_epoch(found: _Found) -> str:
    return (
        f"Validation {found.score} was better at an earlier epoch than at the last, for "
        f"{found.each(found.facts['losses'], found.style, 'by ')}. "
        "Lower train.epochs, or try dropout or a smaller network."
    )


def _nesterov_behind_sgd(found: _Found) -> str:
    nesterov, plain = found.optimizers
    return (
        f"{nesterov} is clearly behind {plain}, which is the same optimizer without momentum; its "
        "grid probably misses the good rates. "
        f"Set another learning_rate for {nesterov}."
    )


def _margin_below_an_example(found: _Found) -> str:
    n_test = found.facts["n_test"]
    return (
        f"The margin of {found.margin} is less than one of the {n_test:,} test examples "
        f"({1 / n_test:.4f}), the least by which two trials can differ. "
        "Set a larger comparison.margin, or test on more examples."
    )


def _margin_below_the_test_examples(found: _Found) -> str:
    return (
        f"The choice of the {found.facts['n_test']:,} test examples alone may move a difference by "
        f"{found.facts['half_width']:{found.style}}, more than the margin of {found.margin}; no "
        "number of seeds makes up for that. "
        "Set a larger comparison.margin, or test on more examples."
    )


# By the names that the checks give to what they find.
WORDS: Mapping[str, Callable[[_Found], str]] = {
    "absent_class": _absent_class,
    "best_epoch": _best_epoch,
    "edge_of_grid": _edge_of_grid,
    "failures": _failures,
    "failures_in_tuning": _failures_in_tuning,
    "guessing": _guessing,
    "identical_curves": _identical_curves,
    "known_band": _known_band,
    "margin_below_an_example": _margin_below_an_example,
    "margin_below_the_test_examples": _margin_below_the_test_examples,
    "nesterov_behind_sgd": _nesterov_behind_sgd,
    "still_improving": _still_improving,
    "stuck": _stuck,
}
