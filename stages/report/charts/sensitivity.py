"""Validation score by learning rate."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import ceil, floor, log10
from typing import Any

import altair as alt

from stages.common.results import TuningPoint
from stages.common.score import Score
from stages.report.charts.base import (
    LEARNING_RATE,
    OPTIMIZER,
    Figure,
    Results,
    at_y,
    by_shape,
    choosable_layers,
    leaders,
    plot,
    score_scale,
    score_tooltip,
    worst_shown,
)
from stages.report.tables import as_table, number, score_style

# In powers of ten: what the axis shows beyond the rates that do well, and the gap from which on
# rates lie too far from the others' to share an axis with them.
FALL, GAP = 1.05, 2.5


@dataclass(frozen=True)
class _View:
    """What the axes show; what lies beyond is drawn at their ends."""

    worst: float
    lowest_rate: float
    highest_rate: float

    def clamp(self, rate: float) -> float:
        return min(max(rate, self.lowest_rate), self.highest_rate)

    def is_beyond(self, rate: float) -> bool:
        return self.clamp(rate) != rate


def sensitivity(results: Results) -> Figure:
    """Validation score by learning rate over the tuning grid."""
    name, style = results.comparison.score.name, score_style(results.comparison)
    view = _view(results)
    beyond = dict.fromkeys(p.optimizer for p in results.tuning if view.is_beyond(p.learning_rate))
    edges = " Rates beyond the axis lie at its ends, marked ◄ or ►." if beyond else ""
    return Figure(
        title="Learning rates",
        caption=f"Mean validation {name} of the tuning trials. Large mark: the tuned rate. "
        "Ring: the configured rate. Cross at the bottom: a rate at which trials failed. Rates that "
        f"do far worse lie on the bottom line.{edges} A flat top means that the exact rate matters "
        "little.",
        chart=_chart(results, view),
        table=as_table(
            {
                "optimizer": point.optimizer,
                "learning rate": f"{point.learning_rate:.3g}",
                f"validation {name}": number(point.validation_score, style),
                "failed": f"{point.n_failed} of {point.n_trials}",
                "choice": point.choice,
            }
            for point in results.tuning
        ),
    )


def _view(results: Results) -> _View:
    score, among = results.comparison.score, leaders(results.comparison)
    points = [point for point in results.tuning if point.optimizer in among]
    worst = worst_shown([p.validation_score for p in points if p.choice != "neither"], score)
    good = [
        point.learning_rate
        for point in points
        if point.validation_score is not None
        and score.merit(point.validation_score) >= score.merit(worst)
    ]
    rates = _densest(good or [p.learning_rate for p in results.tuning])
    return _View(worst, min(rates) / 10**FALL, max(rates) * 10**FALL)


def _densest(rates: Iterable[float]) -> Sequence[float]:
    """The largest group of rates without a gap."""
    rates = sorted(rates)
    groups = [[rates[0]]]
    for before, rate in pairwise(rates):
        if log10(rate / before) > GAP:
            groups.append([])
        groups[-1].append(rate)
    return max(groups, key=len)


def _chart(results: Results, view: _View) -> alt.LayerChart:
    comparison = results.comparison
    score = comparison.score
    seen = [point for point in results.tuning if point.validation_score is not None]
    tuned = [point for point in seen if point.choice in {"tuned", "both"}]
    configured = [point for point in seen if point.choice in {"configured", "both"}]
    failed = [point for point in results.tuning if point.n_failed]
    beyond = [point for point in results.tuning if view.is_beyond(point.learning_rate)]
    clamped = [view.clamp(point.learning_rate) for point in results.tuning]
    rate = alt.X("rate_shown:Q", title="learning rate").scale(
        type="log", nice=False, padding=12, domain=[min(clamped), max(clamped)]
    )
    x = rate.axis(format="~g", grid=False, **_ticks(view))

    def rows(points: Iterable[TuningPoint]) -> list[dict[str, object]]:
        return [_row(point, view, score) for point in points]

    # The better end on top.
    shown = [_shown(point.validation_score, view, score) for point in seen]
    scale = score_scale(score, (s for s in shown if s is not None), reverse=score.sign < 0)
    y = alt.Y("shown:Q", title=f"validation {score.name}", scale=scale)
    bottom = at_y("height")
    said = score_tooltip(comparison)
    tooltip = [OPTIMIZER, LEARNING_RATE, said, alt.Tooltip("choice:N"), alt.Tooltip("failed:N")]
    marks = {"x": x, "y": y, "shape": by_shape(comparison.optimizers), "tooltip": tooltip}
    # Where more than the rate is searched, neighbours on the axis may differ in all else.
    searched = {point.optimizer for point in seen if point.arguments}
    connected = [point for point in seen if point.optimizer not in searched]
    line = plot(rows(connected), x=x, y=y, tooltip=alt.TooltipValue(None))
    rings = plot(rows(configured), x=x, y=y, tooltip=tooltip)
    unscored = [field for field in tooltip if field is not said]
    crosses = plot(rows(failed), x=x, y=bottom, tooltip=unscored)
    arrows = plot(rows(beyond), x=x, y=bottom, text=alt.Text("arrow:N"), tooltip=unscored)
    return choosable_layers(
        comparison.optimizers,
        line.mark_line(strokeWidth=1.5),
        plot(rows(seen), **marks).mark_point(filled=True, size=35, opacity=1),
        plot(rows(tuned), **marks).mark_point(filled=True, size=170, opacity=1),
        rings.mark_point(size=260, strokeWidth=1.5, shape="circle"),
        crosses.mark_point(shape="cross", angle=45, filled=True, size=90, yOffset=-6, opacity=1),
        arrows.mark_text(dy=-26),
        height=300,
        shown=leaders(comparison),
    )


def _ticks(view: _View) -> dict[str, Any]:
    """At powers of ten, if that makes two at least."""
    powers = range(ceil(log10(view.lowest_rate)), floor(log10(view.highest_rate)) + 1)
    return {"values": [10.0**power for power in powers]} if len(powers) > 1 else {"tickCount": 5}


def _shown(value: float | None, view: _View, score: Score) -> float | None:
    return None if value is None else max(value, view.worst, key=score.merit)


def _row(point: TuningPoint, view: _View, score: Score) -> dict[str, object]:
    return {
        "shown": _shown(point.validation_score, view, score),
        "rate_shown": view.clamp(point.learning_rate),
        "arrow": "◄" if point.learning_rate < view.lowest_rate else "►",
        "optimizer": point.optimizer,
        "learning_rate": point.learning_rate,
        "score": point.validation_score,
        "choice": point.choice,
        "failed": f"{point.n_failed} of {point.n_trials}",
    }
