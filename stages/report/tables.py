"""The comparison's tables and captions, the same on the terminal, in Markdown and in HTML."""

import json
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tabulate import tabulate

from stages.common.decimals import USUAL, rounded_up, score_format
from stages.common.params import Params
from stages.common.results import Comparison, Look, OptimizerResult, Pair
from stages.report.warnings import word


@dataclass(frozen=True)
class Table:
    """Formatted cells; the first column names the row."""

    headers: Sequence[str]
    rows: Sequence[Sequence[str]]


def as_table(rows: Iterable[Mapping[str, str]]) -> Table:
    """A table of rows that share their keys, which become the headers."""
    rows = list(rows)
    return Table(tuple(rows[0]) if rows else (), [tuple(row.values()) for row in rows])


def as_text(table: Table, style: str) -> str:
    align = ("left", *("right",) * (len(table.headers) - 1))
    return tabulate(
        table.rows, table.headers, tablefmt=style, disable_numparse=True, colalign=align
    )


def score_style(comparison: Comparison) -> str:
    """The format of all scores of a comparison, for Python and for D3."""
    first = next(iter(comparison.optimizers.values()))
    return score_format(comparison.score, first.tuned.test_score.mean, comparison.margin)


def standings(comparison: Comparison) -> Table:
    """Test scores, best first."""
    style = score_style(comparison)
    return as_table(
        {
            "optimizer": name,
            comparison.score.name: number(result.tuned.test_score.mean, style),
            "interval": interval(result.tuned.test_score.low, result.tuned.test_score.high, style),
            "rate": f"{result.tuned.learning_rate:.3g}",
            "configured": number(result.configured.test_score.mean, style),
            "failed": f"{result.tuned.n_failed} of {result.tuned.n_trials}",
        }
        for name, result in comparison.optimizers.items()
    )


def standings_caption(comparison: Comparison) -> str:
    return (
        f"Test {comparison.score.name}, averaged over fresh seeds at the tuned learning rate, with "
        f"Student's {100 * comparison.confidence:g} % interval. Configured: at the rate of "
        "params.yaml."
    )


def pairs(comparison: Comparison) -> Table:
    """Compares every two optimizers; `PAIRS_CAPTION` explains the columns."""
    return as_table(
        {
            "pair": f"{pair.first} - {pair.second}",
            **_pair_cells(pair, label(pair, comparison.margin), comparison),
        }
        for pair in comparison.pairs
    )


def against(comparison: Comparison, name: str) -> Table:
    """Compares one optimizer with each of the others; the columns are those of `pairs`."""
    return as_table(
        {f"{name} against": pair.second, **_pair_cells(pair, said, comparison)}
        for pair, said in pairs_of(comparison, name)
    )


def pairs_of(comparison: Comparison, name: str) -> list[tuple[Pair, str]]:
    """The pairs of one optimizer as seen from it, and its label: also `worse`."""
    found = []
    for pair in comparison.pairs:
        said = label(pair, comparison.margin)
        if pair.first == name:
            found.append((pair, said))
        elif pair.second == name:
            found.append((_turned(pair), said.replace("better", "worse")))
    return found


def _turned(pair: Pair) -> Pair:
    def negative(value: float | None) -> float | None:
        return None if value is None else -value

    return replace(
        pair,
        first=pair.second,
        second=pair.first,
        mean_difference=negative(pair.mean_difference),
        low=negative(pair.high),
        high=negative(pair.low),
        probability_of_improvement=1 - pair.probability_of_improvement,
    )


def _pair_cells(pair: Pair, said: str, comparison: Comparison) -> dict[str, str]:
    style = score_style(comparison)
    return {
        "label": said,
        "seeds": f"{pair.n_seeds}",
        "difference": signed(pair.mean_difference, style),
        "interval": pair_interval(pair, style),
        "p": f"{pair.p:.2g}",
        "level": f"{pair.nominal:.2g}",
        "improves": f"{pair.probability_of_improvement:.2f}",
        "examples": number(pair.test_set_half_width, style),
    }


def pair_interval(pair: Pair, style: str) -> str:
    if pair.low is None or pair.high is None:
        return "-"
    return f"{signed(pair.low, style)} to {signed(pair.high, style)}"


def label(pair: Pair, margin: float) -> str:
    """The pair's label, which also says where a sure lead is too small to matter."""
    is_small = pair.high is not None and pair.high <= margin
    return "better, by less than matters" if pair.label == "better" and is_small else pair.label


PAIRS_CAPTION = """\
Differences in test score, above 0 where the first is better, paired over the seeds that both were
trained with; the interval is at the level of the test. Better: p, of the paired t-test or of the
exact test of failures, is at most the level that Holm's procedure over all pairs and looks leaves
at the pair's last look. Tied: the interval lies within the margin. Improves: the probability that a
trial of the first beats one of the second. Examples: how far a different choice of test examples
might move the difference. Who is out of the race may be undecided here: to leave it takes to be
behind some other at the level for one side, while these tests are two-sided."""


def race(comparison: Comparison) -> Table:
    """The answer by number of seeds; `RACE_CAPTION` explains the columns."""
    return as_table(
        {
            "seeds": f"{look.n_seeds}",
            "leader": look.leader,
            "bound": bound(look, comparison),
            "still in": f"{len(look.racing) - len(look.beaten)}",
            "out": ", ".join(look.beaten) or "-",
        }
        for look in comparison.looks
    )


def bound(look: Look, comparison: Comparison) -> str:
    return "-" if look.bound is None else rounded_up(look.bound, score_style(comparison))


RACE_CAPTION = """\
Bound: how far another optimizer may be ahead of the leader, with the confidence of the verdict for
all looks together. Out: who is behind for sure, however little, or fails more often; no more seeds
are spent on them."""


def criteria(comparison: Comparison, step_costs: Mapping[str, float] | None = None) -> Table:
    """Speed, tolerance and cost; `criteria_caption` explains the columns."""
    style = score_style(comparison)
    return as_table(
        {
            "optimizer": name,
            "epochs to target": number(result.criteria.epochs_to_target, "g"),
            "steps to target": number(result.criteria.steps_to_target, ",.10g"),
            "reached": reached(result),
            "good rates": _good_rates(result),
            "failed": f"{result.criteria.failed_share:.0%}",
            "state per weight": f"{result.criteria.state_per_parameter:.2g}",
            **({"time per step": f"{step_costs[name]:.2f}"} if step_costs else {}),
            "validation": number(result.tuned.validation_score.mean, style),
            "at best epoch": number(result.tuned.best_validation_score.mean, style),
        }
        for name, result in comparison.optimizers.items()
    )


def reached(result: OptimizerResult) -> str:
    """How many confirmation trials at the tuned rate reached the target."""
    return f"{len(result.criteria.epochs_reached)} of {result.criteria.n_trials}"


def _good_rates(result: OptimizerResult) -> str:
    low, high = result.criteria.rate_low, result.criteria.rate_high
    if result.tuned.n_failed == result.tuned.n_trials:
        return "-"
    return f"{low:.3g}" if low == high else f"{low:.3g} to {high:.3g}"


def criteria_caption(comparison: Comparison, step_costs: Mapping[str, float] | None = None) -> str:
    caption = f"""\
Good rates: those around the tuned one with a validation score within the margin of its.
Failed: share of all trials, including tuning, that diverged or ended in an error.
State: numbers that the optimizer keeps per weight. Validation: {comparison.score.name} after
the last epoch and at each trial's best one, averaged."""
    if step_costs:
        caption += "\nTime: relative to plain SGD, measured by make cost on one machine."
    target = comparison.target
    if target is None:
        return caption
    told = format(target, score_style(comparison))
    return f"""\
Target: a validation {comparison.score.name} of {told}; medians over seeds, or - if half
or more never reached it.
{caption}"""


def settings(comparison: Comparison, params: Params) -> dict[str, str]:
    """What was compared, at which settings and with which versions, by topic."""
    dataset = comparison.dataset
    return {
        "data": f"{dataset.name}; {dataset.n_train:,} examples to train on, "
        f"{dataset.n_validation:,} for validation, {dataset.n_test:,} for the test",
        **{f"SHA-256 of {file.name}": file.sha256 for file in dataset.files},
        "task": f"{_settings(params.task.model_dump())}; judged by {comparison.score.name}, of "
        f"which {'more' if comparison.score.sign > 0 else 'less'} is better",
        "split": _settings(params.split.model_dump()),
        "model": f"{_settings(params.model.model_dump())}; {comparison.n_parameters:,} parameters",
        "training": _settings(params.train.model_dump()),
        "tuning": _settings(params.tuning.model_dump()),
        "confirmation": _settings(params.confirmation.model_dump()),
        "comparison": f"confidence {comparison.confidence:g}, margin {comparison.margin:g}",
        **{
            f"optimizer {name}": _settings(
                {key: value for key, value in spec.model_dump().items() if value not in (None, {})}
            )
            for name, spec in sorted(params.optimizers.items())
        },
        "cost": f"{comparison.n_trials:,} trials, {comparison.n_steps:,} updates",
        "versions": _settings(comparison.versions),
    }


def warnings(comparison: Comparison) -> list[str]:
    style = score_style(comparison)
    score, margin = comparison.score, comparison.margin
    return [word(finding, score, margin, style) for finding in comparison.warnings]


def number(value: float | None, style: str) -> str:
    """Formats a number as Python does, or gives `-` if there is none."""
    return "-" if value is None else format(value, style)


def fill(text: str, start: str = "") -> str:
    """Lines of 80 columns; all but the first are indented by the width of `start`."""
    indent = " " * len(start)
    return textwrap.fill(text, 80, initial_indent=start, subsequent_indent=indent)


def plural(n: int, noun: str) -> str:
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"


def signed(value: float | None, style: str) -> str:
    """A difference with its sign; one that is printed as 0 has a plus."""
    if value is None:
        return "-"
    text = format(value, f"+{style}")
    return f"+{text[1:]}" if float(text) == 0 else text


def interval(low: float | None, high: float | None, style: str = USUAL) -> str:
    if low is None or high is None:
        return "-"
    return f"{low:{style}}{'-' if low >= 0 else ' to '}{high:{style}}"


def in_words(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _settings(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} {in_words(value)}" for key, value in values.items())
