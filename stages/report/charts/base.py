"""What the charts share: their input and output, optimizer colours, scales, layers and ticks."""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from statistics import median
from typing import Any, Literal

import altair as alt

from stages.common.confirmation import ConfirmationRow
from stages.common.params import Params
from stages.common.results import (
    Comparison,
    ConfusionCell,
    CurvePoint,
    FittedPoint,
    Mistakes,
    TuningPoint,
)
from stages.common.score import Score
from stages.report.tables import Table, score_style

# Each colour has a contrast of 3 to 1 with both backgrounds; shapes help those who see no colours.
COLOURS = (
    "#0b7bc1", "#d55e00", "#00926b", "#b05fa8", "#8a7a00", "#7468d8", "#c0506a", "#6f7a80",
)  # fmt: skip
# Readable on both backgrounds, for what belongs to no optimizer.
GREY = "#808080"
SHAPES = ("circle", "square", "triangle-up", "diamond", "cross", "triangle-down", "triangle-right")
# Charts begin with so many of the best optimizers; the page's legend adds others.
N_LEADERS = 10
N_TICKS = 10
# Of an axis label, before it is broken into lines; and the height of a line in pixels.
LINE_LENGTH, LINE_HEIGHT = 18, 14
# Of an optimizer's row.
ROW_HEIGHT = 32
# From this ratio on, errors are told apart on a logarithmic axis only.
LOG_RATIO = 10.0
# For tooltips.
OPTIMIZER = alt.Tooltip("optimizer:N")
SCORE = alt.Tooltip("score:Q", format=".4f")
LEARNING_RATE = alt.Tooltip("learning_rate:Q", title="learning rate", format=".3~g")
SHARE = alt.Tooltip("share:Q", format=".1%")


@dataclass(frozen=True)
class Results:
    """Everything that the report is made from."""

    params: Params
    comparison: Comparison
    scores: Sequence[ConfirmationRow]
    curves: Sequence[CurvePoint]
    tuning: Sequence[TuningPoint]
    confusion: Sequence[ConfusionCell]
    fitted: Sequence[FittedPoint]
    mistakes: Mistakes


@dataclass(frozen=True)
class Appendix:
    """A further table of a figure, which the page folds away under its title."""

    title: str
    table: Table
    caption: str


@dataclass(frozen=True)
class Figure:
    """A chart with its title and caption, and its data as a table for those who cannot see it.

    `chart` is None where a table says it better. A narrow figure shares its line with another.
    """

    title: str
    caption: str
    chart: alt.LayerChart | None
    table: Table
    appendices: tuple[Appendix, ...] = ()
    is_narrow: bool = False


@dataclass(frozen=True)
class Look:
    """The colour and the shape of an optimizer, the same in every chart."""

    colour: str
    shape: str


def assign_looks(names: Iterable[str]) -> dict[str, Look]:
    """Assigned in alphabetical order, so that colours do not depend on the ranking."""
    return {
        name: Look(COLOURS[i % len(COLOURS)], SHAPES[i % len(SHAPES)])
        for i, name in enumerate(sorted(names))
    }


def look_scale(names: Iterable[str], of: Literal["colour", "shape"]) -> alt.Scale:
    looks = assign_looks(names)
    return alt.Scale(domain=list(looks), range=[getattr(look, of) for look in looks.values()])


def by_colour(names: Iterable[str]) -> alt.Color:
    return alt.Color("optimizer:N", scale=look_scale(names, "colour"), title=None)


def by_shape(names: Iterable[str]) -> alt.Shape:
    return alt.Shape("optimizer:N", scale=look_scale(names, "shape"), title=None)


def leaders(comparison: Comparison) -> list[str]:
    """The optimizers that charts show at first."""
    return list(comparison.optimizers)[:N_LEADERS]


def score_tooltip(comparison: Comparison, field: str = "score", title: str = "") -> alt.Tooltip:
    return alt.Tooltip(f"{field}:Q", format=score_style(comparison), title=title or field)


def plot(rows: Iterable[Mapping[str, object]], **channels: Any) -> alt.Chart:
    """The rows with their encoding channels; the caller adds a mark.

    Channels are Altair's objects, not its abbreviations such as `"low:Q"`, which take ten times as
    long. So do rows in a list, which Altair copies at every step.
    """
    return alt.Chart(alt.InlineData(values=tuple(rows))).encode(**channels)


def at_x(place: float | Literal["width"]) -> Any:
    """A horizontal place in pixels, or the right end."""
    return alt.XValue(place)  # type: ignore[no-untyped-call]


def at_y(place: float | Literal["height"]) -> Any:
    """A vertical place in pixels, or the bottom."""
    return alt.YValue(place)  # type: ignore[no-untyped-call]


def layers(*charts: alt.Chart, height: int | None = None) -> alt.LayerChart:
    """Charts drawn over one another. Those without data are left out, as Vega warns about them."""
    options: dict[str, Any] = {} if height is None else {"height": height}
    return alt.LayerChart(layer=[chart for chart in charts if chart.data.values], **options)


def choosable_layers(
    names: Iterable[str],
    *charts: alt.Chart,
    height: int = 0,
    row_height: int = 0,
    shown: Iterable[str] | None = None,
    fixed: Sequence[alt.Chart] = (),
) -> alt.LayerChart:
    """Layers coloured by optimizer that show only those ticked in the page's legend.

    Args:
        names: Every optimizer.
        charts: The layers; their rows name an optimizer.
        height: In pixels, unless each optimizer has a row.
        row_height: Of each optimizer's row, so that the chart is as high as there are ticks.
        shown: Those that are ticked at first; None for all.
        fixed: Layers below the others that show no single optimizer.
    """
    ticked = "indexof(shown, datum.optimizer) >= 0"
    names = list(names)
    shown = names if shown is None else list(shown)
    colour = by_colour(names)
    chosen = [chart.encode(color=colour).transform_filter(ticked) for chart in charts]
    # The page's script reads and sets these parameters.
    params = [alt.param(name="shown", value=shown)]
    if row_height:
        height = row_height * len(shown)
        params.append(alt.param(name="row_height", value=row_height))
    return layers(*fixed, *chosen, height=height).add_params(*params)


def name_lines(name: str) -> list[str]:
    """A name in lines that fit beside an axis, broken after `_` or `-` where it has one."""
    lines = [""]
    for part in re.findall(r"[^_-]*[_-]?", name):
        pieces = [part[i : i + LINE_LENGTH] for i in range(0, len(part), LINE_LENGTH)]
        for piece in pieces:
            if lines[-1] and len(lines[-1] + piece) > LINE_LENGTH:
                lines.append("")
            lines[-1] += piece
    return lines


def optimizer_rows(
    names: Iterable[str], row_height: int = ROW_HEIGHT, **scale: Any
) -> tuple[alt.Y, int]:
    """The vertical axis of a chart with a row for each optimizer, and the height of a row.

    Names are not cut, since what tells two apart may stand at the end; long ones get more lines.
    """
    names = list(names)
    lines = {name: name_lines(name) for name in names}
    n_lines = max(map(len, lines.values()))
    axis: dict[str, Any] = {"labelLimit": 0, "labelOverlap": False, "orient": "left"}
    if n_lines > 1:
        # Vega puts the first line beside the tick, so all get as many lines and are moved up.
        filled = {name: [""] * ((n_lines - len(own)) // 2) + own for name, own in lines.items()}
        axis["labelExpr"] = f"({json.dumps(filled, ensure_ascii=False)})[datum.value]"
        axis["labelOffset"] = -LINE_HEIGHT * (n_lines - 1) / 2
    y = alt.Y("optimizer:N", sort=names, title=None).axis(**axis)
    if scale:
        y = y.scale(**scale)
    return y, max(row_height, LINE_HEIGHT * n_lines + 10)


def worst_shown(scores: Sequence[float | None], score: Score, spread: float = 0.0) -> float:
    """Where the axis may begin, so that an optimizer far behind does not squeeze the others.

    Args:
        scores: What is to be shown; None for what cannot be.
        score: What they are.
        spread: How far behind the best the axis reaches at least; by default, as far as the best
            itself is from a perfect score.
    """
    known = [value for value in scores if value is not None]
    if not known:
        return 0.0
    best = max(known, key=score.merit)
    reach = 3 * abs(best - median(known))
    return best - score.sign * max(reach, spread or distance_to_perfect(best, score))


def distance_to_perfect(best: float, score: Score) -> float:
    """How far a score is from a perfect one, or a tenth of it where no score is perfect."""
    perfect = score.highest if score.sign > 0 else score.lowest
    if not isfinite(perfect):
        return abs(best) / 10
    distance = abs(perfect - best)
    return min(max(distance, 0.01), 0.05) if score.is_count else distance


def score_scale(score: Score, values: Iterable[float], **limits: Any) -> alt.Scale:
    """The scale of scores; of errors that differ by orders of magnitude a logarithmic one."""
    values = list(values)
    is_log = score.sign < 0 and values and min(values) > 0
    if is_log and max(values) >= LOG_RATIO * min(values):
        return alt.Scale(type="log", nice=False, **limits)
    return alt.Scale(zero=False, **limits)


def whole_ticks(first: int, last: int) -> list[int]:
    """About N_TICKS round whole numbers. Vega's own ticks may be fractions."""
    steps = (factor * 10**power for power in range(9) for factor in (1, 2, 5))
    step = next(step for step in steps if last - first <= N_TICKS * step)
    return [n for n in range(first, last + 1) if n % step == 0]


def spec(chart: alt.LayerChart, config: Mapping[str, Any], width: int | str) -> dict[str, Any]:
    """The chart as Vega-Lite. The tests check it against the schema, which takes long."""
    return {**chart.to_dict(validate=False), "width": width, "config": dict(config)}
