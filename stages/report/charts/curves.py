"""Learning curves."""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from math import ceil
from typing import Any

import altair as alt

from stages.common.results import CurvePoint
from stages.common.score import Score
from stages.report.charts.base import (
    SCORE,
    Figure,
    Results,
    by_shape,
    choosable_layers,
    plot,
    whole_ticks,
)
from stages.report.tables import as_table

N_MARKS = 6
SPLITS = {"validation": "validation", "train": "training"}


def curves(results: Results) -> Figure | None:
    """Training and validation score by epoch, with the range over seeds."""
    if not results.curves:
        return None
    n_epochs = max(point.epoch for point in results.curves)
    score = results.comparison.score
    worst = _worst_shown([p.score for p in results.curves if p.epoch == n_epochs], score)
    is_cut = any(
        score.merit(end) < score.merit(worst)
        for point in results.curves
        for end in (point.score_low, point.score_high)
    )
    epochs = range(n_epochs, 0, -ceil(n_epochs / N_MARKS))
    marked = [point for point in results.curves if point.epoch in epochs]
    cells: dict[tuple[str, str], dict[str, str]] = {
        (name, split): {} for name in results.comparison.optimizers for split in SPLITS
    }
    for p in marked:
        cells[p.optimizer, p.split][f"epoch {p.epoch}"] = f"{p.score:.4f}"
    return Figure(
        title="Learning curves",
        caption=f"Mean {score.name} after each epoch at the tuned learning rate. Solid: "
        "validation; the band spans the lowest to the highest seed. Dashed: training, averaged "
        "over the epoch's minibatches, each measured before its update."
        f"{' Worse values are cut off.' if is_cut else ''}",
        chart=_chart(results, marked, worst),
        table=as_table(
            {"optimizer": name, "examples": SPLITS[split], **row}
            for (name, split), row in cells.items()
            if row
        ),
    )


def _worst_shown(final: Sequence[float], score: Score) -> float:
    """Where the axis begins, so that the last epoch's scores fill its better half."""
    spread = max(final) - min(final)
    if score.is_count:
        spread = max(0.05, spread)
    worst = min(final, key=score.merit) - score.sign * spread
    return min(max(worst, score.lowest), score.highest)


def _chart(results: Results, marked: Sequence[CurvePoint], worst: float) -> alt.LayerChart:
    score = results.comparison.score
    validation = [point for point in results.curves if point.split == "validation"]
    seen = [point for point in marked if point.split == "validation"]
    seen = [point for point in seen if score.merit(point.score) >= score.merit(worst)]
    ticks = whole_ticks(1, max(point.epoch for point in results.curves))
    x = alt.X("epoch:Q").scale(nice=False).axis(values=ticks, format="d", grid=False)
    limit: dict[str, Any] = {"domainMin" if score.sign > 0 else "domainMax": worst}
    y, low = (
        alt.Y(field, title=score.name, scale=alt.Scale(zero=False, **limit))
        for field in ("score:Q", "low:Q")
    )
    dash = alt.StrokeDash("split:N", title=None)
    dash = dash.scale(domain=list(SPLITS.values()), range=[[1, 0], [4, 3]])
    tooltip = [
        "optimizer:N",
        "epoch:Q",
        SCORE,
        alt.Tooltip("low:Q", title="lowest seed", format=".4f"),
        alt.Tooltip("high:Q", title="highest seed", format=".4f"),
    ]
    shape = by_shape(results.comparison.optimizers)
    # Cut here, since a drawing program takes seconds for so many clipped lines.
    bands = ({**_row(p), **{end: _cut(v, worst, score) for end, v in _ends(p)}} for p in validation)
    lines = plot(_visible(results.curves, worst, score), x=x, y=y, strokeDash=dash)
    points = plot(map(_row, seen), x=x, y=y, shape=shape, tooltip=tooltip)
    return choosable_layers(
        results.comparison.optimizers,
        plot(bands, x=x, y=low, y2="high:Q").mark_area(opacity=0.15),
        lines.mark_line(strokeWidth=1.5),
        points.mark_point(filled=True, size=50, opacity=1),
        height=340,
    )


def _ends(point: CurvePoint) -> tuple[tuple[str, float], ...]:
    return ("low", point.score_low), ("high", point.score_high)


def _cut(value: float, worst: float, score: Score) -> float:
    return max(value, worst, key=score.merit)


def _visible(
    points: Sequence[CurvePoint], worst: float, score: Score
) -> Iterator[dict[str, object]]:
    """The rows of the lines, each from where it comes into sight to where it leaves it."""
    for before, point in pairwise([None, *points]):
        if point is None:
            continue
        is_seen = score.merit(point.score) >= score.merit(worst)
        if before is not None and (before.optimizer, before.split) == (
            point.optimizer,
            point.split,
        ):
            was_seen = score.merit(before.score) >= score.merit(worst)
            if was_seen != is_seen:
                share = (worst - before.score) / (point.score - before.score)
                yield _row(point) | {"epoch": before.epoch + share, "score": worst}
        if is_seen:
            yield _row(point)


def _row(point: CurvePoint) -> dict[str, object]:
    return {
        "optimizer": point.optimizer,
        "split": SPLITS[point.split],
        "epoch": point.epoch,
        "score": point.score,
        "low": point.score_low,
        "high": point.score_high,
    }
