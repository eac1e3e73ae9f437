"""Epochs to the target."""

from collections import Counter

import altair as alt

from stages.report import tables
from stages.report.charts.base import (
    OPTIMIZER,
    Figure,
    Results,
    at_x,
    choosable_layers,
    leaders,
    optimizer_rows,
    plot,
    whole_ticks,
)
from stages.report.tables import as_table, number, reached


def speed(results: Results) -> Figure | None:
    """How many epochs the confirmation trials needed to reach the target."""
    comparison = results.comparison
    if comparison.target is None:
        return None
    target = format(comparison.target, tables.score_style(comparison))
    return Figure(
        title="Epochs to the target",
        caption=f"Epochs until validation {comparison.score.name} reached {target}. "
        "Bar: the median. Dots: the seeds, larger where several needed as many. On the right: how "
        "many reached it.",
        chart=_chart(results),
        table=as_table(
            {
                "optimizer": name,
                "epochs, median": number(standing.criteria.epochs_to_target, "g"),
                "steps, median": number(standing.criteria.steps_to_target, ",.10g"),
                "reached": reached(standing),
            }
            for name, standing in comparison.optimizers.items()
        ),
    )


def _chart(results: Results) -> alt.LayerChart:
    optimizers = results.comparison.optimizers
    epochs = {name: standing.criteria.epochs_reached for name, standing in optimizers.items()}
    seeds = [
        {"optimizer": name, "epochs": epoch, "seeds": n}
        for name, found in epochs.items()
        for epoch, n in sorted(Counter(found).items())
    ]
    medians = [
        {"optimizer": name, "epochs": s.criteria.epochs_to_target, "reached": reached(s)}
        for name, s in optimizers.items()
        if s.criteria.epochs_to_target is not None
    ]
    texts = [
        {"optimizer": name, "text": reached(standing) if epochs[name] else "never"}
        for name, standing in optimizers.items()
    ]
    longest = max((max(found) for found in epochs.values() if found), default=1)
    x = alt.X("epochs:Q", title="epochs to the target").scale(domain=[0, longest])
    x = x.axis(values=whole_ticks(0, longest), format="d")
    y, row_height = optimizer_rows(optimizers)
    dots = plot(
        seeds,
        x=x,
        y=y,
        size=alt.Size("seeds:Q", legend=None).scale(range=[40, 240]),
        tooltip=[OPTIMIZER, alt.Tooltip("epochs:Q"), alt.Tooltip("seeds:Q")],
    )
    median = alt.Tooltip("epochs:Q", title="median of epochs")
    bars = plot(medians, x=x, y=y, tooltip=[OPTIMIZER, median, alt.Tooltip("reached:N")])
    notes = plot(texts, x=at_x("width"), y=y, text=alt.Text("text:N"))
    return choosable_layers(
        optimizers,
        dots.mark_circle(opacity=0.35),
        bars.mark_tick(thickness=3, size=22, opacity=1),
        notes.mark_text(align="left", dx=12),
        row_height=row_height,
        shown=leaders(results.comparison),
    )
