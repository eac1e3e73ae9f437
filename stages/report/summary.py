"""The comparison as a table: Markdown for a pull request, plain text for the terminal."""

import json
import textwrap
from collections.abc import Mapping
from typing import Any

from tabulate import tabulate

from stages.common.artifacts import Comparison, Estimate, Standing
from stages.common.params import Params


def summarise(comparison: Comparison, params: Params) -> str:
    """The Markdown page: verdict, table, settings and versions."""
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
        "seeds": ", ".join(map(str, params.confirmation.seeds)),
        **{key: _in_words(spec) for key, spec in optimizers.items()},
        "versions": _in_words(comparison.versions),
    }
    lines = (
        "# Which optimizer?",
        "",
        f"**{comparison.verdict}.**",
        "",
        _table(comparison, "github"),
        "",
        _caption(comparison),
        "",
        "## Settings",
        "",
        *(f"- {key}: {value}" for key, value in settings.items()),
    )
    return "\n".join(lines) + "\n"


def describe(comparison: Comparison) -> str:
    """The same for a terminal of 80 columns."""
    verdict = textwrap.fill(f"{comparison.verdict}.", width=80)
    return f"\n{_table(comparison, 'simple')}\n\n{_caption(comparison)}\n\n{verdict}"


def _table(comparison: Comparison, style: str) -> str:
    headers = ("optimizer", "accuracy", "interval", "rate", "configured", "diverged")
    rows = [_row(name, standing) for name, standing in comparison.optimizers.items()]
    align = ("left", *("right",) * 5)
    return tabulate(rows, headers, tablefmt=style, disable_numparse=True, colalign=align)


def _row(name: str, standing: Standing) -> tuple[str, ...]:
    return (
        name,
        _number(standing.test_accuracy.mean, ".4f"),
        _interval(standing.test_accuracy),
        f"{standing.learning_rate:.3g}",
        _number(standing.configured_test_accuracy.mean, ".4f"),
        f"{standing.n_diverged} of {standing.n_trials}",
    )


def _caption(comparison: Comparison) -> str:
    return (
        "Mean test accuracy over fresh seeds, at the learning rate that validation chose;\n"
        f"Student's {100 * comparison.confidence:g} % interval. Configured: at params.yaml's rate."
    )


def _interval(estimate: Estimate) -> str:
    if estimate.low is None or estimate.high is None:
        return "-"
    return f"{estimate.low:.4f}-{estimate.high:.4f}"


def _number(value: float | None, style: str) -> str:
    return "-" if value is None else format(value, style)


def _in_words(settings: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} {_value(value)}" for key, value in settings.items())


def _value(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
