"""What the charts share: their input and output, optimizer colours, layers and ticks."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
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
from stages.report.tables import Table

# Each colour has a contrast of 3 to 1 with both backgrounds; shapes help those who see no colours.
COLOURS = (
    "#0b7bc1", "#d55e00", "#00926b", "#b05fa8", "#8a7a00", "#7468d8", "#c0506a", "#6f7a80",
)  # fmt: skip
SHAPES = ("circle", "square", "triangle-up", "diamond", "cross", "triangle-down", "triangle-right")
N_TICKS = 10
# For tooltips.
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
class Figure:
    """A chart with its title and caption, and its data as a table for those who cannot see it."""

    title: str
    caption: str
    chart: alt.LayerChart
    table: Table


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


def plot(rows: Iterable[Mapping[str, object]], **channels: Any) -> alt.Chart:
    """The rows with their encoding channels; the caller adds a mark."""
    return alt.Chart(alt.InlineData(values=list(rows))).encode(**channels)


def layers(*charts: alt.Chart, height: int) -> alt.LayerChart:
    """Charts drawn over one another. Those without data are left out, as Vega warns about them."""
    return alt.LayerChart(layer=[chart for chart in charts if chart.data.values], height=height)


def choosable_layers(names: Iterable[str], *charts: alt.Chart, height: int) -> alt.LayerChart:
    """Layers coloured by optimizer that show only those ticked in the page's legend."""
    ticked = "indexof(shown, datum.optimizer) >= 0"
    chosen = [chart.encode(color=by_colour(names)).transform_filter(ticked) for chart in charts]
    # The page's script sets this parameter.
    shown = alt.param(name="shown", value=list(names))
    return layers(*chosen, height=height).add_params(shown)


def worst_shown(scores: Sequence[float | None], score: Score, spread: float = 0.0) -> float:
    """Where the axis may begin, so that an optimizer far behind does not squeeze the others.

    Args:
        scores: What is to be shown; None for what cannot be.
        score: What they are.
        spread: How far behind the best the axis reaches at least.
    """
    known = [value for value in scores if value is not None]
    if not known:
        return 0.0
    best = max(known, key=score.merit)
    reach = 3 * abs(best - median(known))
    least = 0.05 if score.is_count else spread or abs(best) / 10
    return best - score.sign * max(reach, spread, least)


def whole_ticks(first: int, last: int) -> list[int]:
    """About N_TICKS round whole numbers. Vega's own ticks may be fractions."""
    steps = (factor * 10**power for power in range(9) for factor in (1, 2, 5))
    step = next(step for step in steps if last - first <= N_TICKS * step)
    return [n for n in range(first, last + 1) if n % step == 0]


def spec(chart: alt.LayerChart, config: Mapping[str, Any], width: int | str) -> dict[str, Any]:
    """The chart as Vega-Lite."""
    return {**chart.properties(width=width).to_dict(), "config": dict(config)}
