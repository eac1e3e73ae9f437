"""The comparison's numbers in words and tables, the same on the terminal, in Markdown and HTML."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from stages.common.artifacts import Comparison
from stages.common.params import Params


@dataclass(frozen=True)
class Table:
    """Cells as people read them; the first column names its row."""

    headers: Sequence[str]
    rows: Sequence[Sequence[str]]


def standings(comparison: Comparison) -> Table:
    """Test accuracy, best first."""
    return Table(
        ("optimizer", "accuracy", "interval", "rate", "configured", "diverged"),
        [
            (
                name,
                number(estimate.mean, ".4f"),
                interval(estimate.low, estimate.high),
                f"{standing.tuned.learning_rate:.3g}",
                number(standing.configured.test_accuracy.mean, ".4f"),
                f"{standing.tuned.n_diverged} of {standing.tuned.n_trials}",
            )
            for name, standing in comparison.optimizers.items()
            for estimate in (standing.tuned.test_accuracy,)
        ],
    )


def standings_caption(comparison: Comparison) -> str:
    return (
        "Mean test accuracy over fresh seeds, at the learning rate that validation chose;\n"
        f"Student's {100 * comparison.confidence:g} % interval. Configured: at params.yaml's rate."
    )


def pairs(comparison: Comparison) -> Table:
    """What may be said of every two optimizers; `PAIRS_CAPTION` explains the columns."""
    return Table(
        (
            "pair",
            "label",
            "difference",
            "interval",
            "p, adjusted",
            "improves",
            "images",
            "seeds",
        ),
        [
            (
                f"{pair.first} - {pair.second}",
                pair.label,
                number(pair.mean_difference, "+.4f"),
                "-" if pair.low is None else f"{pair.low:+.4f} to {pair.high:+.4f}",
                number(pair.p_adjusted, ".2g"),
                number(pair.probability_of_improvement, ".2f"),
                number(pair.test_set_half_width, ".4f"),
                number(pair.n_seeds_needed, "d"),
            )
            for pair in comparison.pairs
        ],
    )


PAIRS_CAPTION = """\
Differences in test accuracy, paired over seeds, with Student's interval; p of the paired t-test, or
of Fisher's exact test where every trial of the second diverged, adjusted by Holm's method for all
pairs, which the interval is not. Better: adjusted p below 1 less the confidence, and an interval
above zero. Tied: an interval within the margin. Improves: how likely a trial of the first beats one
of the second. Images: how far other test images might move the difference, either way. Seeds: how
many would show the first to be better with 80 % probability, were this the true difference; - where
that is decided or out of reach."""


def criteria(comparison: Comparison) -> Table:
    """Speed, tolerance, memory; `criteria_caption` explains the columns."""
    return Table(
        (
            "optimizer",
            "epochs to target",
            "steps to target",
            "reached",
            "good rates",
            "diverged",
            "state per weight",
            "validation",
            "at best epoch",
        ),
        [
            (
                name,
                number(standing.criteria.epochs_to_target, "g"),
                number(standing.criteria.steps_to_target, ",.10g"),
                f"{len(standing.criteria.epochs_reached)} of {standing.tuned.n_trials}",
                _range(standing.criteria.rate_low, standing.criteria.rate_high)
                if standing.tuned.n_diverged < standing.tuned.n_trials
                else "-",
                f"{standing.criteria.diverged_share:.0%}",
                f"{standing.criteria.state_per_parameter:.2g}",
                number(standing.tuned.validation_accuracy.mean, ".4f"),
                number(standing.tuned.best_validation_accuracy.mean, ".4f"),
            )
            for name, standing in comparison.optimizers.items()
        ],
    )


def criteria_caption(comparison: Comparison) -> str:
    target = comparison.target_accuracy
    notes = [
        *(
            [
                f"Target: a validation accuracy of {target:.4f}; medians over seeds, - where half",
                "or more never reached it.",
            ]
            if target is not None
            else []
        ),
        "Good rates: those of the grid about as good as the tuned one, within 0.01 on validation.",
        "Diverged: of all trials, tuning included. State: numbers that the optimizer keeps for",
        "each weight. Validation: mean accuracy after the last epoch and at each trial's best.",
    ]
    return "\n".join(notes)


def settings(comparison: Comparison, params: Params) -> dict[str, str]:
    """What was compared, and with which versions: a line for each section."""
    dataset = comparison.dataset
    return {
        "data": f"{dataset.name}; {dataset.n_train:,} images to train on, "
        f"{dataset.n_validation:,} for validation, {dataset.n_test:,} for the test",
        **{f"SHA-256 of {file.name}": file.sha256 for file in dataset.files},
        "split": _in_words(params.split.model_dump()),
        "model": f"{_in_words(params.model.model_dump())}; {comparison.n_parameters:,} parameters",
        "training": _in_words(params.train.model_dump()),
        "tuning": _in_words(params.tuning.model_dump()),
        "confirmation": _in_words(params.confirmation.model_dump()),
        "comparison": f"confidence {comparison.confidence:g}, margin {comparison.margin:g}",
        **{
            f"optimizer {name}": _in_words(spec.model_dump())
            for name, spec in sorted(params.optimizers.items())
        },
        "cost": f"{comparison.n_trials:,} trials, {comparison.n_steps:,} updates",
        "versions": _in_words(comparison.versions),
    }


def warnings(comparison: Comparison) -> list[str]:
    return [f"{finding.problem} {finding.advice}" for finding in comparison.warnings]


def seeds_needed(comparison: Comparison) -> str | None:
    """How many seeds would decide what keeps the first of the ranking from being best."""
    first = next(iter(comparison.optimizers))
    open_pairs = [p for p in comparison.pairs if p.first == first and p.label == "undecided"]
    needed = [(p.n_seeds_needed, p.second) for p in open_pairs if p.n_seeds_needed is not None]
    if not needed:
        return None
    n_seeds, second = max(needed)
    return (
        f"If the true difference is the measured one, about {n_seeds:,} seeds would show that "
        f"{first} beats {second} on these test images"
    )


def number(value: float | None, style: str) -> str:
    """A number in Python's format, or `-` where there is none."""
    return "-" if value is None else format(value, style)


def interval(low: float | None, high: float | None) -> str:
    return "-" if low is None or high is None else f"{low:.4f}-{high:.4f}"


def _range(low: float, high: float) -> str:
    return f"{low:.3g}" if low == high else f"{low:.3g} to {high:.3g}"


def _in_words(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} {_value(value)}" for key, value in values.items())


def _value(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
