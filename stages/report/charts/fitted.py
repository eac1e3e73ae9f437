"""Predicted against true values, of a regression."""

import altair as alt

from stages.report.charts.base import COLOURS, Figure, Results, layers, plot
from stages.report.tables import as_table

N_ROWS = 10


def fitted(results: Results) -> Figure | None:
    """What the ranking's first optimizer predicts for test examples, against what is true."""
    points = [
        {
            "true": point.actual,
            "predicted": point.predicted,
            "low": point.predicted_low,
            "high": point.predicted_high,
        }
        for point in results.fitted
        if not point.output
    ]
    if not points:
        return None
    n_outputs = results.comparison.dataset.n_outputs
    first = f", the first of {n_outputs} values" if n_outputs > 1 else ""
    leader = next(iter(results.comparison.optimizers))
    ends = [min(point[key] for point in points for key in ("true", "low"))]
    ends.append(max(point[key] for point in points for key in ("true", "high")))
    scale = alt.Scale(domain=ends, nice=True, zero=False)
    x, y = alt.X("true:Q", scale=scale), alt.Y("predicted:Q", scale=scale)
    about = ("true:Q", "predicted:Q", "low:Q", "high:Q")
    tooltip = [alt.Tooltip(field, format=".4g") for field in about]
    diagonal = plot([{"true": end, "predicted": end} for end in ends], x=x, y=y)
    bars = plot(points, x=x, y=alt.Y("low:Q", scale=scale, title="predicted"), y2=alt.Y2("high:Q"))
    furthest = sorted(points, key=lambda point: -abs(point["predicted"] - point["true"]))
    return Figure(
        title=f"Predicted and true: {leader}",
        caption=f"Test examples{first}; what lies on the line is predicted exactly. Dot: the mean "
        "over seeds. Bar: the lowest to the highest seed. The table has those furthest from the "
        "truth.",
        chart=layers(
            diagonal.mark_line(strokeWidth=1, opacity=0.5, color=COLOURS[-1]),
            bars.mark_rule(opacity=0.3, color=COLOURS[0]),
            plot(points, x=x, y=y, tooltip=tooltip).mark_circle(
                size=25, opacity=0.7, color=COLOURS[0]
            ),
            height=340,
        ),
        table=as_table(
            {key: f"{point[key]:.4g}" for key in ("true", "predicted", "low", "high")}
            for point in furthest[:N_ROWS]
        ),
    )
