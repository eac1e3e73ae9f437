"""Learning curves."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import ceil
from typing import Any

import altair as alt

from stages.common.results import CurvePoint
from stages.report.charts.base import (
    OPTIMIZER,
    Figure,
    Results,
    by_shape,
    choosable_layers,
    leaders,
    plot,
    score_scale,
    score_tooltip,
    whole_ticks,
    worst_shown,
)
from stages.report.tables import as_table, score_style

N_MARKS = 6
# Of more, the bands would hide one another.
N_BANDS = 3
SPLITS = {"validation": "validation", "train": "training"}


def curves(results: Results) -> Figure | None:
    """Training and validation score by epoch, with the range over seeds."""
    if not results.curves:
        return None
    n_epochs = max(point.epoch for point in results.curves)
    score, style = results.comparison.score, score_style(results.comparison)
    view = _view(results, n_epochs)
    is_cut = any(
        end != view.cut(end)
        for point in results.curves
        for end in (point.score, *(end for _, end in _ends(point)))
    )
    epochs = range(n_epochs, 0, -ceil(n_epochs / N_MARKS))
    marked = [point for point in results.curves if point.epoch in epochs]
    cells: dict[tuple[str, str], dict[str, str]] = {
        (name, split): {} for name in results.comparison.optimizers for split in SPLITS
    }
    for p in marked:
        cells[p.optimizer, p.split][f"epoch {p.epoch}"] = format(p.score, style)
    return Figure(
        title="Learning curves",
        caption=f"Mean {score.name} after each epoch at the tuned learning rate. Solid: "
        "validation; where at most three optimizers are ticked, a band spans the lowest to the "
        "highest seed. Dashed: training, averaged over the epoch's minibatches, each measured "
        "before its update."
        f"{' What lies beyond the axis is cut off.' if is_cut else ''}",
        chart=_chart(results, marked, view),
        table=as_table(
            {"optimizer": name, "examples": SPLITS[split], **row}
            for (name, split), row in cells.items()
            if row
        ),
    )


@dataclass(frozen=True)
class _View:
    """The scores between which the chart shows the curves."""

    worst: float
    best: float

    def holds(self, score: float) -> bool:
        return self.cut(score) == score

    def cut(self, score: float) -> float:
        lowest, highest = sorted((self.worst, self.best))
        return min(max(score, lowest), highest)


def _view(results: Results, last: int) -> _View:
    """The second half of the leaders' validation curves takes most of the chart.

    Training curves, which may reach a perfect score, would otherwise press them together.
    """
    score, among = results.comparison.score, leaders(results.comparison)
    final = [
        point.score
        for point in results.curves
        if point.epoch == last and point.split == "validation" and point.optimizer in among
    ]
    best = max(final, key=score.merit)
    halfway = [
        point.score
        for point in results.curves
        if point.epoch == ceil(last / 2)
        and point.split == "validation"
        and point.optimizer == among[0]
    ]
    worst = min([worst_shown(final, score), *halfway], key=score.merit)
    beyond = best + (best - worst) / 2
    if not score.lowest <= beyond <= score.highest:
        # Half of the way, since a logarithmic axis has no 0.
        beyond = (best + (score.highest if score.sign > 0 else score.lowest)) / 2
    return _View(min(max(worst, score.lowest), score.highest), beyond)


def _chart(results: Results, marked: Sequence[CurvePoint], view: _View) -> alt.LayerChart:
    score = results.comparison.score
    validation = [point for point in results.curves if point.split == "validation"]
    seen = [point for point in marked if point.split == "validation" and view.holds(point.score)]
    ticks = whole_ticks(1, max(point.epoch for point in results.curves))
    x = alt.X("epoch:Q").scale(nice=False).axis(values=ticks, format="d", grid=False)
    limit: dict[str, Any] = {"domainMin" if score.sign > 0 else "domainMax": view.worst}
    shown = [*(point.score for point in seen), view.worst]
    y, low = (
        alt.Y(field, title=score.name, scale=score_scale(score, shown, **limit))
        for field in ("score:Q", "low:Q")
    )
    dash = alt.StrokeDash("split:N", title=None)
    dash = dash.scale(domain=list(SPLITS.values()), range=[[1, 0], [4, 3]])
    tooltip = [
        OPTIMIZER,
        alt.Tooltip("epoch:Q"),
        score_tooltip(results.comparison),
        score_tooltip(results.comparison, "low", "lowest seed"),
        score_tooltip(results.comparison, "high", "highest seed"),
    ]
    shape = by_shape(results.comparison.optimizers)
    # Cut here, since a drawing program takes seconds for so many clipped lines.
    rows = ({**_row(p), **{end: view.cut(v) for end, v in _ends(p)}} for p in validation)
    lines = plot(_visible(results.curves, view), x=x, y=y, strokeDash=dash)
    points = plot(map(_row, seen), x=x, y=y, shape=shape, tooltip=tooltip)
    is_few = f"length(shown) <= {N_BANDS}"
    opacity = alt.FillOpacityValue(0, condition={"test": is_few, "value": 0.15})
    bands = plot(rows, x=x, y=low, y2=alt.Y2("high:Q"), fillOpacity=opacity)
    return choosable_layers(
        results.comparison.optimizers,
        bands.mark_area(opacity=1),
        lines.mark_line(strokeWidth=1.5),
        points.mark_point(filled=True, size=50, opacity=1),
        height=340,
        shown=leaders(results.comparison),
    )


def _ends(point: CurvePoint) -> tuple[tuple[str, float], ...]:
    return ("low", point.score_low), ("high", point.score_high)


def _visible(points: Sequence[CurvePoint], view: _View) -> Iterator[dict[str, object]]:
    """The rows of the lines, each from where it comes into sight to where it leaves it."""
    for before, point in pairwise([None, *points]):
        if point is None:
            continue
        if before is not None and (before.optimizer, before.split) == (
            point.optimizer,
            point.split,
        ):
            yield from _crossings(before, point, view)
        if view.holds(point.score):
            yield _row(point)


def _crossings(before: CurvePoint, point: CurvePoint, view: _View) -> list[dict[str, object]]:
    """Where the line between two points crosses the ends of the view."""
    lowest, highest = sorted((before.score, point.score))
    shares = {
        (end - before.score) / (point.score - before.score): end
        for end in (view.worst, view.best)
        if lowest < end < highest
    }
    return [
        _row(point) | {"epoch": before.epoch + share, "score": end}
        for share, end in sorted(shares.items())
    ]


def _row(point: CurvePoint) -> dict[str, object]:
    return {
        "optimizer": point.optimizer,
        "split": SPLITS[point.split],
        "epoch": point.epoch,
        "score": point.score,
        "low": point.score_low,
        "high": point.score_high,
    }
