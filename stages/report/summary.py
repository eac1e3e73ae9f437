"""The comparison as a table: Markdown for a pull request, plain text for the terminal."""

import json
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tabulate import tabulate

from stages.common.artifacts import Comparison, Estimate
from stages.common.params import Params


def summarise(comparison: Comparison, params: Params) -> str:
    """The Markdown page: verdict, tables, warnings, settings and versions."""
    dataset = comparison.dataset
    optimizers = {
        f"optimizer {name}": spec.model_dump() for name, spec in sorted(params.optimizers.items())
    }
    settings = {
        "data": f"{dataset.name}; {dataset.n_train:,} images to train on, "
        f"{dataset.n_validation:,} for validation, {dataset.n_test:,} for the test",
        "split": _in_words(params.split.model_dump()),
        "model": f"{_in_words(params.model.model_dump())}; {comparison.n_parameters:,} parameters",
        "training": _in_words(params.train.model_dump()),
        "tuning": _in_words(params.tuning.model_dump()),
        "confirmation": _in_words(params.confirmation.model_dump()),
        "comparison": f"confidence {comparison.confidence:g}, margin {comparison.margin:g}",
        **{key: _in_words(spec) for key, spec in optimizers.items()},
        "versions": _in_words(comparison.versions),
    }
    lines = (
        "# Which optimizer?",
        "",
        f"**{comparison.verdict}**",
        "",
        _table(comparison, "github"),
        "",
        _caption(comparison),
        *_section("Warnings", _bullets(_warnings(comparison))),
        *_section(
            "Pairs", [_pair_table(comparison), "", _PAIR_CAPTION] if comparison.pairs else []
        ),
        *_section(
            "Other criteria", [_criteria_table(comparison), "", *_criteria_notes(comparison)]
        ),
        *_section("Settings", _bullets(f"{key}: {value}" for key, value in settings.items())),
    )
    return "\n".join(lines) + "\n"


def describe(comparison: Comparison) -> str:
    """The same for a terminal of 80 columns."""
    paragraphs = [
        _table(comparison, "simple"),
        _caption(comparison),
        _fill(comparison.verdict),
        *map(_fill, _next_step(comparison)),
        *([_fill(comparison.budget)] if comparison.budget else []),
        *(_fill(warning, start="! ") for warning in _warnings(comparison)),
    ]
    return "\n" + "\n\n".join(paragraphs)


def _fill(text: str, start: str = "") -> str:
    indent = " " * len(start)
    return textwrap.fill(text, 80, initial_indent=start, subsequent_indent=indent)


def _section(title: str, lines: Sequence[str]) -> list[str]:
    return ["", f"## {title}", "", *lines] if lines else []


def _bullets(texts: Iterable[str]) -> list[str]:
    return [f"- {text}" for text in texts]


def _warnings(comparison: Comparison) -> list[str]:
    return [f"{finding.problem} {finding.advice}" for finding in comparison.warnings]


def _next_step(comparison: Comparison) -> list[str]:
    """How many seeds would decide what keeps the first of the ranking from being best."""
    first = next(iter(comparison.optimizers))
    open_pairs = [p for p in comparison.pairs if p.first == first and p.label == "undecided"]
    needed = [(p.n_seeds_needed, p.second) for p in open_pairs if p.n_seeds_needed is not None]
    if not needed:
        return []
    n_seeds, second = max(needed)
    sentence = (
        f"If the true difference is the measured one, about {n_seeds:,} seeds would show that "
        f"{first} beats {second} on these test images; report/summary.md has all pairs."
    )
    return [sentence]


def _tabulate(headers: Sequence[str], rows: Sequence[Sequence[str]], style: str) -> str:
    align = ("left", *("right",) * (len(headers) - 1))
    return tabulate(rows, headers, tablefmt=style, disable_numparse=True, colalign=align)


def _table(comparison: Comparison, style: str) -> str:
    headers = ("optimizer", "accuracy", "interval", "rate", "configured", "diverged")
    rows = [
        (
            name,
            _number(standing.tuned.test_accuracy.mean, ".4f"),
            _interval(standing.tuned.test_accuracy),
            f"{standing.tuned.learning_rate:.3g}",
            _number(standing.configured.test_accuracy.mean, ".4f"),
            f"{standing.tuned.n_diverged} of {standing.tuned.n_trials}",
        )
        for name, standing in comparison.optimizers.items()
    ]
    return _tabulate(headers, rows, style)


def _caption(comparison: Comparison) -> str:
    return (
        "Mean test accuracy over fresh seeds, at the learning rate that validation chose;\n"
        f"Student's {100 * comparison.confidence:g} % interval. Configured: at params.yaml's rate."
    )


def _pair_table(comparison: Comparison) -> str:
    headers = (
        "pair",
        "label",
        "difference",
        "interval",
        "p, adjusted",
        "improves",
        "images",
        "seeds",
    )
    rows = [
        (
            f"{pair.first} - {pair.second}",
            pair.label,
            _number(pair.mean_difference, "+.4f"),
            "-" if pair.low is None else f"{pair.low:+.4f} to {pair.high:+.4f}",
            _number(pair.p_adjusted, ".2g"),
            _number(pair.probability_of_improvement, ".2f"),
            _number(pair.test_set_half_width, ".4f"),
            _number(pair.n_seeds_needed, "d"),
        )
        for pair in comparison.pairs
    ]
    return _tabulate(headers, rows, "github")


_PAIR_CAPTION = """\
Differences in test accuracy, paired over seeds, with Student's interval; p of the paired t-test, or
of Fisher's exact test where every trial of the second diverged, adjusted by Holm's method for all
pairs, which the interval is not. Better: adjusted p below 1 less the confidence, and an interval
above zero. Tied: an interval within the margin. Improves: how likely a trial of the first beats one
of the second. Images: how far other test images might move the difference, either way. Seeds: how
many would show the first to be better with 80 % probability, were this the true difference; - where
that is decided or out of reach."""


def _criteria_table(comparison: Comparison) -> str:
    headers = (
        "optimizer",
        "epochs to target",
        "steps to target",
        "reached",
        "good rates",
        "diverged",
        "state per weight",
        "validation",
        "at best epoch",
    )
    rows = [
        (
            name,
            _number(standing.criteria.epochs_to_target, "g"),
            _number(standing.criteria.steps_to_target, ",.10g"),
            f"{standing.criteria.n_reached} of {standing.tuned.n_trials}",
            _range(standing.criteria.rate_low, standing.criteria.rate_high),
            f"{standing.criteria.diverged_share:.0%}",
            f"{standing.criteria.state_per_parameter:.2g}",
            _number(standing.tuned.validation_accuracy.mean, ".4f"),
            _number(standing.tuned.best_validation_accuracy.mean, ".4f"),
        )
        for name, standing in comparison.optimizers.items()
    ]
    return _tabulate(headers, rows, "github")


def _criteria_notes(comparison: Comparison) -> list[str]:
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
    return ["\n".join(notes), *(["", comparison.budget] if comparison.budget else [])]


def _range(low: float, high: float) -> str:
    return f"{low:.3g}" if low == high else f"{low:.3g} to {high:.3g}"


def _interval(estimate: Estimate) -> str:
    if estimate.low is None or estimate.high is None:
        return "-"
    return f"{estimate.low:.4f}-{estimate.high:.4f}"


def _number(value: float | None, style: str, missing: str = "-") -> str:
    return missing if value is None else format(value, style)


def _in_words(settings: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} {_value(value)}" for key, value in settings.items())


def _value(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
