"""The ranking by test score."""

from collections.abc import Sequence
from statistics import median
from typing import Any

import altair as alt

from stages.common.confirmation import Scored
from stages.common.results import Comparison
from stages.common.score import Score
from stages.report.charts.base import (
    LEARNING_RATE,
    OPTIMIZER,
    ROW_HEIGHT,
    Figure,
    Results,
    at_x,
    choosable_layers,
    leaders,
    look_scale,
    optimizer_rows,
    plot,
    score_scale,
    score_tooltip,
    worst_shown,
)
from stages.report.tables import as_table, interval, number, score_style

Row = dict[str, Any]


def ranking(results: Results) -> Figure:
    """Test score with its interval at the tuned and the configured rate, best first."""
    comparison = results.comparison
    rows = _rows(comparison)
    score, style = comparison.score, score_style(comparison)
    tuned = [comparison.optimizers[name].tuned.test_score for name in leaders(comparison)]
    # As far as nearly all seeds of most optimizers lie.
    spread = 4 * median(estimate.standard_deviation or 0.0 for estimate in tuned)
    worst = worst_shown([estimate.mean for estimate in tuned], score, spread)
    is_beyond = any(
        row["score"] is not None and _is_beyond(row["score"], worst, score) for row in rows
    )
    is_cut = any(
        _is_beyond(seed.test_score, worst, score)
        for seed in results.scores
        if isinstance(seed, Scored) and seed.rate == "tuned"
    )
    confidence = f"{100 * comparison.confidence:g} %"
    return Figure(
        title="Ranking",
        caption=f"Test {score.name}, averaged over fresh seeds, with Student's {confidence} "
        "interval. Dots: at the tuned learning rate, with a tick for each seed. Diamonds: at the "
        "configured rate, if it differs."
        f"{' Seeds and intervals further to the left are cut off.' if is_cut else ''}"
        f"{' ◄ marks a mean to the left of the chart.' if is_beyond else ''}",
        chart=_chart(results, rows, worst),
        table=as_table(
            {
                "optimizer": row["optimizer"],
                "rate": row["rate"],
                "learning rate": f"{row['learning_rate']:.3g}",
                **{field: number(row[field], style) for field in ("score", "low", "high")},
                "failed": row["failed"],
            }
            for row in rows
        ),
    )


def _rows(comparison: Comparison) -> list[Row]:
    """A row for each learning rate of an optimizer, the tuned one first."""
    style = score_style(comparison)
    return [
        {
            "optimizer": name,
            "rate": rate,
            "learning_rate": confirmed.learning_rate,
            "score": confirmed.test_score.mean,
            "low": confirmed.test_score.low,
            "high": confirmed.test_score.high,
            "interval": interval(confirmed.test_score.low, confirmed.test_score.high, style),
            "failed": f"{confirmed.n_failed} of {confirmed.n_trials}",
        }
        for name, result in comparison.optimizers.items()
        for rate, confirmed in (("tuned", result.tuned), ("configured", result.configured))
        if rate == "tuned" or confirmed.learning_rate != result.tuned.learning_rate
    ]


def _is_beyond(value: float, worst: float, score: Score) -> bool:
    return score.merit(value) < score.merit(worst)


def _chart(results: Results, rows: Sequence[Row], worst: float) -> alt.LayerChart:
    comparison = results.comparison
    score, style = comparison.score, score_style(comparison)
    optimizers = comparison.optimizers
    seen = [
        row
        for row in rows
        if row["score"] is not None and not _is_beyond(row["score"], worst, score)
    ]
    beyond = [row | {"text": _note(row["score"], style)} for row in rows if row not in seen]
    end = "low" if score.sign > 0 else "high"
    ranges = [
        row | {end: max(row[end], worst, key=score.merit)} for row in seen if row["low"] is not None
    ]
    seeds = [
        {"optimizer": s.optimizer, "rate": "tuned", "score": s.test_score, "seed": s.seed}
        for s in results.scores
        if isinstance(s, Scored)
        and s.rate == "tuned"
        and not _is_beyond(s.test_score, worst, score)
    ]
    rates = list(dict.fromkeys(row["rate"] for row in rows))
    # The better end on the right.
    scale = score_scale(score, (row["score"] for row in [*seen, *seeds]), reverse=score.sign < 0)
    x, low = (
        alt.X(f"{field}:Q", title=f"test {score.name}", scale=scale).axis(tickCount=6)
        for field in ("score", "low")
    )
    y, row_height = optimizer_rows(optimizers, ROW_HEIGHT if len(rates) > 1 else ROW_HEIGHT - 8)
    place = {"y": y, "yOffset": alt.YOffset("rate:N", sort=rates).scale(domain=rates)}
    colours = look_scale(results.params.optimizers, "colour")
    symbols = ["circle", "diamond"][: len(rates)]
    about = [OPTIMIZER, alt.Tooltip("rate:N"), LEARNING_RATE]
    ends = [alt.Tooltip("interval:N"), alt.Tooltip("failed:N")]
    dots = plot(
        seen,
        x=x,
        fill=alt.Fill("optimizer:N", scale=colours, legend=None),
        fillOpacity=alt.FillOpacityValue(
            0, condition={"test": "datum.rate == 'tuned'", "value": 1}
        ),
        shape=alt.Shape("rate:N", title=None).scale(domain=rates, range=symbols),
        tooltip=[*about, score_tooltip(comparison), *ends],
        **place,
    )
    notes = plot(beyond, x=at_x(0), text=alt.Text("text:N"), tooltip=[*about, *ends], **place)
    return choosable_layers(
        optimizers,
        plot(seeds, x=x, **place).mark_tick(opacity=0.4),
        plot(ranges, x=low, x2=alt.X2("high:Q"), **place).mark_rule(strokeWidth=2),
        dots.mark_point(size=90, strokeWidth=2, opacity=1),
        notes.mark_text(align="left", dx=4),
        row_height=row_height,
        shown=leaders(comparison),
    )


def _note(value: float | None, style: str) -> str:
    return "every trial failed" if value is None else f"◄ {value:{style}}"
