"""One optimizer against each of the others."""

from statistics import median

import altair as alt

from stages.common.results import Comparison
from stages.report import tables
from stages.report.charts.base import (
    GREY,
    OPTIMIZER,
    Appendix,
    Figure,
    Results,
    at_x,
    choosable_layers,
    leaders,
    optimizer_rows,
    plot,
)

Row = dict[str, object]


def pairs(results: Results) -> Figure | None:
    """The difference to each other optimizer with its interval, beside the margin."""
    comparison = results.comparison
    if not comparison.pairs:
        return None
    first = next(iter(comparison.optimizers))
    name = comparison.score.name
    return Figure(
        title=f"{first} against each",
        caption=f"How far {first} is ahead in test {name}, over the seeds that both were trained "
        f"with: to the right of 0 it is better. Bar: the interval at the level of the test. Grey: "
        f"the margin of {comparison.margin:g}, within which a difference does not matter to you. "
        "◄ and ► mark what goes on beyond the chart.",
        chart=_chart(results),
        table=tables.against(comparison, first),
        appendices=(
            Appendix("Every pair as a table", tables.pairs(comparison), tables.PAIRS_CAPTION),
        ),
    )


def _chart(results: Results) -> alt.LayerChart:
    comparison = results.comparison
    names = list(comparison.optimizers)
    reach = _reach(comparison, names[0])
    rows = [row for name in names for row in _rows(comparison, name, reach)]
    known = [row for row in rows if "shown" in row]
    unknown = [row for row in rows if "shown" not in row]
    scale = alt.Scale(domain=[-reach, reach], nice=False)
    x, low, edge = (
        alt.X(f"{field}:Q", title=f"difference in test {comparison.score.name}", scale=scale).axis(
            tickCount=7
        )
        for field in ("shown", "low_shown", "low")
    )
    y, row_height = optimizer_rows(names, 26)
    tooltip = [
        OPTIMIZER,
        *(alt.Tooltip(f"{field}:N") for field in ("label", "difference", "interval", "p", "level")),
    ]
    right = at_x("width")
    is_against = "datum.against == against"
    charts = [
        plot(known, x=low, x2=alt.X2("high_shown:Q"), y=y, tooltip=tooltip).mark_rule(
            strokeWidth=2
        ),
        plot(known, x=x, y=y, tooltip=tooltip).mark_point(
            filled=True, size=90, opacity=1, shape="circle"
        ),
        plot(rows, x=right, y=y, text=alt.Text("note:N")).mark_text(align="left", dx=10),
        plot(unknown, x=at_x(0), y=y, text=alt.Text("label:N")).mark_text(align="left"),
    ]
    margin = [{"low": -comparison.margin, "high": comparison.margin}]
    band = plot(margin, x=edge, x2=alt.X2("high:Q"))
    zero = plot([{"low": 0}], x=edge)
    # Vega adds the box that chooses it.
    choice = alt.param(
        name="against",
        value=names[0],
        bind=alt.binding_select(options=names, name="Compare with the others: "),
    )
    return choosable_layers(
        names,
        *(chart.transform_filter(is_against) for chart in charts if chart.data.values),
        row_height=row_height,
        shown=leaders(comparison),
        fixed=[
            band.mark_rect(opacity=0.15, color=GREY),
            zero.mark_rule(color=GREY, strokeDash=[3, 3]),
        ],
    ).add_params(choice)


def _reach(comparison: Comparison, first: str) -> float:
    """How far the axis goes: all of most intervals, and twice the margin at least."""
    furthest = [
        max(-pair.low, pair.high)
        for pair, _ in tables.pairs_of(comparison, first)
        if pair.low is not None and pair.high is not None
    ]
    return max(2 * comparison.margin, 1.5 * median(furthest) if furthest else 0.0)


def _rows(comparison: Comparison, name: str, reach: float) -> list[Row]:
    style = tables.score_style(comparison)

    def cut(value: float) -> float:
        return min(max(value, -reach), reach)

    rows: list[Row] = []
    for pair, said in tables.pairs_of(comparison, name):
        row: Row = {
            "against": name,
            "optimizer": pair.second,
            "label": said,
            "note": said.split(",")[0],
            "difference": tables.signed(pair.mean_difference, style),
            "interval": tables.pair_interval(pair, style),
            "p": f"{pair.p:.2g}",
            "level": f"{pair.nominal:.2g}",
        }
        if pair.mean_difference is not None and pair.low is not None and pair.high is not None:
            row |= {
                "shown": cut(pair.mean_difference),
                "low_shown": cut(pair.low),
                "high_shown": cut(pair.high),
            }
            if abs(pair.mean_difference) > reach:
                row["note"] = f"{row['note']} {'►' if pair.mean_difference > 0 else '◄'}"
        rows.append(row)
    return rows
