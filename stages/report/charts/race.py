"""The race: the bound and who was still in, by number of seeds."""

import altair as alt

from stages.common.results import Comparison
from stages.report import tables
from stages.report.charts.base import (
    GREY,
    N_LEADERS,
    OPTIMIZER,
    Figure,
    Results,
    by_colour,
    by_shape,
    layers,
    optimizer_rows,
    plot,
)

# In pixels, from top to bottom.
BOUND_HEIGHT, GAP, LANE_HEIGHT = 130, 30, 24


def race(results: Results) -> Figure | None:
    """The bound by number of seeds, and below it who was in the race; no chart of a single look."""
    comparison = results.comparison
    if len(comparison.optimizers) == 1:
        return None
    looks = comparison.looks
    if len(looks) == 1:
        return Figure(
            title="The race",
            caption=f"The race ended at its first look, after {looks[0].n_seeds} seeds. "
            f"{tables.RACE_CAPTION}",
            chart=None,
            table=tables.race(comparison),
        )
    n_hidden = len(comparison.optimizers) - len(_lanes(comparison))
    hidden = f" {n_hidden} that left at the first look are in the table alone." if n_hidden else ""
    return Figure(
        title="The race",
        caption="Above: the bound, by number of seeds. The race is over where it is at most "
        f"the margin of {comparison.margin:g}, the dashed line. Below: a "
        "mark for each look that an optimizer took part in, large where it led, and a cross where "
        f"it left.{hidden} {tables.RACE_CAPTION}",
        chart=_chart(comparison),
        table=tables.race(comparison),
    )


def _lanes(comparison: Comparison) -> list[str]:
    """Everyone, or of many those that the first look left in."""
    names = list(comparison.optimizers)
    return [
        name for name in names if len(names) <= N_LEADERS or name not in comparison.looks[0].beaten
    ]


def _chart(comparison: Comparison) -> alt.LayerChart:
    looks, lanes = comparison.looks, _lanes(comparison)
    last = looks[-1].n_seeds
    top = BOUND_HEIGHT + GAP
    height = top + LANE_HEIGHT * len(lanes)
    x = alt.X("seeds:Q", title="seeds").scale(
        type="log", nice=False, domain=[looks[0].n_seeds * 0.93, last * 1.07]
    )
    x = x.axis(values=[look.n_seeds for look in looks], format="d", grid=False)

    bounds = [
        {"seeds": look.n_seeds, "bound": look.bound, "text": tables.bound(look, comparison)}
        for look in looks
        if look.bound is not None
    ]
    highest = max(comparison.margin, *(look.bound or 0.0 for look in looks))
    scale = alt.Scale(domain=[0, 1.15 * highest], range=[BOUND_HEIGHT, 0], nice=False)
    y = alt.Y("bound:Q", title="bound", scale=scale).axis(orient="left", tickCount=4, grid=False)
    margin = plot([{"bound": comparison.margin}], y=y)
    about_bound = [alt.Tooltip("seeds:Q"), alt.Tooltip("text:N", title="bound")]
    line = plot(bounds, x=x, y=y, tooltip=about_bound)

    rows = [
        {
            "optimizer": name,
            "seeds": look.n_seeds,
            "size": 190 if name == look.leader else 40,
            "state": "leads" if name == look.leader else "out" if name in look.beaten else "in",
        }
        for name in lanes
        for look in looks
        if name in look.racing
    ]
    names = list(comparison.optimizers)
    lane, _ = optimizer_rows(lanes, range=[top, height])
    colour, shape = by_colour(names), by_shape(names)
    tooltip = [OPTIMIZER, alt.Tooltip("seeds:Q"), alt.Tooltip("state:N")]
    left = [row for row in rows if row["state"] == "out"]
    here = plot(
        [row for row in rows if row["state"] != "out"],
        x=x,
        y=lane,
        color=colour,
        shape=shape,
        size=alt.Size("size:Q", scale=None),
        tooltip=tooltip,
    )
    # Two groups, since the layers within one share their vertical axis.
    above = layers(
        margin.mark_rule(strokeDash=[5, 4], color=GREY),
        line.mark_line(color=GREY, strokeWidth=2),
        line.mark_point(filled=True, size=60, color=GREY, opacity=1),
        line.encode(text=alt.Text("text:N")).mark_text(dy=-12),
    )
    below = layers(
        plot(rows, x=x, y=lane, color=colour).mark_line(strokeWidth=2),
        here.mark_point(filled=True, opacity=1),
        plot(left, x=x, y=lane, color=colour, tooltip=tooltip).mark_point(
            shape="cross", angle=45, filled=True, size=110, opacity=1
        ),
    )
    resolve = alt.Resolve(scale=alt.ScaleResolveMap(y="independent"))
    return alt.LayerChart(layer=[above, below], height=height, resolve=resolve)
