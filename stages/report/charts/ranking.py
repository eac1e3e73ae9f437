"""The ranking by test accuracy."""

from collections.abc import Sequence
from statistics import median
from typing import Any

import altair as alt

from stages.common.confirmation import Scored
from stages.common.results import Comparison
from stages.report.charts.base import (
    ACCURACY,
    LEARNING_RATE,
    Figure,
    Results,
    by_colour,
    layers,
    look_scale,
    plot,
)
from stages.report.tables import as_table, interval, number

Row = dict[str, Any]


def ranking(results: Results) -> Figure:
    """Test accuracy with its interval at the tuned and the configured rate, best first."""
    rows = _rows(results.comparison)
    least = _least_shown([row["accuracy"] for row in rows if row["rate"] == "tuned"])
    is_cut = any(row["accuracy"] is not None and row["accuracy"] < least for row in rows)
    confidence = f"{100 * results.comparison.confidence:g} %"
    return Figure(
        title="Ranking",
        caption=f"Mean test accuracy over fresh seeds with Student's {confidence} interval. Dots: "
        "at the tuned learning rate, with a tick for each seed. Diamonds: at the configured rate, "
        "if it differs."
        f"{' ◄ marks a mean to the left of the chart.' if is_cut else ''}",
        chart=_chart(results, rows, least),
        table=as_table(
            {
                "optimizer": row["optimizer"],
                "rate": row["rate"],
                "learning rate": f"{row['learning_rate']:.3g}",
                **{field: number(row[field], ".4f") for field in ("accuracy", "low", "high")},
                "failed": row["failed"],
            }
            for row in rows
        ),
    )


def _rows(comparison: Comparison) -> list[Row]:
    """A row for each learning rate of an optimizer, the tuned one first."""
    return [
        {
            "optimizer": name,
            "rate": rate,
            "learning_rate": confirmed.learning_rate,
            "accuracy": confirmed.test_accuracy.mean,
            "low": confirmed.test_accuracy.low,
            "high": confirmed.test_accuracy.high,
            "interval": interval(confirmed.test_accuracy.low, confirmed.test_accuracy.high),
            "failed": f"{confirmed.n_failed} of {confirmed.n_trials}",
        }
        for name, result in comparison.optimizers.items()
        for rate, confirmed in (("tuned", result.tuned), ("configured", result.configured))
        if rate == "tuned" or confirmed.learning_rate != result.tuned.learning_rate
    ]


def _least_shown(accuracies: Sequence[float | None]) -> float:
    """Where the axis may begin, so that an optimizer far behind does not squeeze the others."""
    known = sorted(accuracy for accuracy in accuracies if accuracy is not None)
    return known[-1] - max(0.05, 3 * (known[-1] - median(known))) if known else 0.0


def _chart(results: Results, rows: Sequence[Row], least: float) -> alt.LayerChart:
    optimizers = results.comparison.optimizers
    seen = [row for row in rows if row["accuracy"] is not None and row["accuracy"] >= least]
    beyond = [row | {"text": _note(row["accuracy"])} for row in rows if row not in seen]
    ranges = [row | {"low": max(row["low"], least)} for row in seen if row["low"] is not None]
    seeds = [
        {"optimizer": s.optimizer, "rate": "tuned", "accuracy": s.test_accuracy, "seed": s.seed}
        for s in results.scores
        if isinstance(s, Scored) and s.rate == "tuned" and s.test_accuracy >= least
    ]
    rates = list(dict.fromkeys(row["rate"] for row in rows))
    x = alt.X("accuracy:Q", title="test accuracy").scale(zero=False).axis(tickCount=6)
    place = {
        "y": alt.Y("optimizer:N", sort=list(optimizers), title=None),
        "yOffset": alt.YOffset("rate:N", sort=rates).scale(domain=rates),
    }
    colour = by_colour(results.params.optimizers).legend(None)
    scale = look_scale(results.params.optimizers, "colour")
    symbols = ["circle", "diamond"][: len(rates)]
    about, ends = ("optimizer:N", "rate:N", LEARNING_RATE), ("interval:N", "failed:N")
    dots = plot(
        seen,
        x=x,
        color=colour,
        fill=alt.Fill("optimizer:N", scale=scale, legend=None),
        fillOpacity=alt.condition("datum.rate == 'tuned'", alt.value(1), alt.value(0)),
        shape=alt.Shape("rate:N", title=None).scale(domain=rates, range=symbols),
        tooltip=[*about, ACCURACY, *ends],
        **place,
    )
    notes = plot(beyond, x=alt.value(0), text="text:N", tooltip=[*about, *ends], **place)
    return layers(
        plot(seeds, x=x, color=colour, **place).mark_tick(opacity=0.4),
        plot(ranges, x="low:Q", x2="high:Q", color=colour, **place).mark_rule(strokeWidth=2),
        dots.mark_point(size=90, strokeWidth=2, opacity=1),
        notes.mark_text(align="left", dx=4),
        height=(16 + 16 * len(rates)) * len(optimizers),
    )


def _note(accuracy: float | None) -> str:
    return "every trial failed" if accuracy is None else f"◄ {accuracy:.4f}"
