"""The settings that were tried where tuning searched more than the learning rate."""

from collections.abc import Iterable
from math import log

import altair as alt

from stages.common.optimizer_params import Choices, Dimension
from stages.common.results import TuningPoint
from stages.report.charts.base import (
    OPTIMIZER,
    Figure,
    Results,
    by_colour,
    layers,
    plot,
    score_tooltip,
)
from stages.report.tables import as_table, number, score_style

ROW_HEIGHT = 26


def settings(results: Results) -> Figure | None:
    """Where in its range each searched value lay, and how good the setting was."""
    searched = [point for point in results.tuning if point.arguments]
    if not searched:
        return None
    name, style = results.comparison.score.name, score_style(results.comparison)
    return Figure(
        title="Settings that were tried",
        caption="A line for each argument that was searched, from the low end of its range to the "
        "high end, on the scale of params.yaml. A mark for each setting: the darker, the better "
        f"its validation {name} among that optimizer's settings; large: what tuning chose.",
        chart=_chart(results, searched),
        table=as_table(
            {
                "optimizer": point.optimizer,
                "learning rate": f"{point.learning_rate:.3g}",
                "arguments": point.arguments or "as configured",
                f"validation {name}": number(point.validation_score, style),
                "failed": f"{point.n_failed} of {point.n_trials}",
                "choice": point.choice,
            }
            for point in _best_first(results, {point.optimizer for point in searched})
        ),
    )


def _best_first(results: Results, names: Iterable[str]) -> list[TuningPoint]:
    """The settings of these optimizers, in the order of the ranking, each one's best first."""
    order = [name for name in results.comparison.optimizers if name in names]
    points = [point for point in results.tuning if point.optimizer in order]
    return sorted(points, key=lambda p: (order.index(p.optimizer), -_merit(results, p)))


def _merit(results: Results, point: TuningPoint) -> float:
    score = point.validation_score
    return -1e300 if score is None else results.comparison.score.merit(score)


def _chart(results: Results, searched: list[TuningPoint]) -> alt.LayerChart:
    comparison = results.comparison
    names = [name for name in comparison.optimizers if name in {p.optimizer for p in searched}]
    rows: list[dict[str, object]] = []
    for name in names:
        own = sorted(
            (point for point in searched if point.optimizer == name),
            key=lambda point: _merit(results, point),
        )
        space = results.params.optimizers[name].search
        for rank, point in enumerate(own, start=1):
            for argument, text in _values(point):
                if argument in space:
                    rows.append(
                        {
                            "line": f"{name}: {argument}",
                            "place": _place(space[argument], text),
                            "optimizer": name,
                            "value": text,
                            "rate": f"{point.learning_rate:.3g}",
                            "score": point.validation_score,
                            "shade": rank / len(own),
                            "chosen": point.choice in {"tuned", "both"},
                        }
                    )
    lines = list(dict.fromkeys(str(row["line"]) for row in rows))
    x = alt.X("place:Q", title="low ← the range that was searched → high").scale(domain=[0, 1])
    marks = {
        "x": x.axis(labels=False, ticks=False, values=[0, 0.5, 1]),
        "y": alt.Y("line:N", sort=lines, title=None).axis(labelLimit=0, grid=True),
        "color": by_colour(comparison.optimizers).legend(None),
        "opacity": alt.Opacity("shade:Q", legend=None).scale(domain=[0, 1], range=[0.1, 1]),
        "tooltip": [
            OPTIMIZER,
            alt.Tooltip("value:N"),
            alt.Tooltip("rate:N", title="learning rate"),
            score_tooltip(comparison),
        ],
    }
    chosen = [row for row in rows if row["chosen"]]
    return layers(
        plot(rows, **marks).mark_circle(size=70),
        plot(chosen, **marks).mark_circle(size=240),
        height=ROW_HEIGHT * len(lines),
    )


def _values(point: TuningPoint) -> list[tuple[str, str]]:
    pairs = (pair.split("=", 1) for pair in (point.arguments or "").split("; "))
    return [(name, text) for name, text in pairs]


def _place(dimension: Dimension, text: str) -> float:
    """Where the value lies in its range: 0 at the low end, 1 at the high end."""
    if isinstance(dimension, Choices):
        choices = list(map(str, dimension.choices))
        return choices.index(text) / (len(choices) - 1)
    low, high, value = dimension.low, dimension.high, float(text)
    match dimension.scale:
        case "linear":
            return (value - low) / (high - low)
        case "log":
            return log(value / low) / log(high / low)
        case "one_minus_log":
            return log((1 - value) / (1 - low)) / log((1 - high) / (1 - low))
