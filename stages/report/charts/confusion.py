"""The confusion matrix of the ranking's first optimizer."""

from collections.abc import Sequence

import altair as alt

from stages.common.results import ConfusionCell
from stages.report.charts.base import COLOURS, SHARE, Figure, Results, layers, plot
from stages.report.tables import Table

# More would be too small to read.
N_CLASSES = 50


def confusion(results: Results) -> Figure | None:
    """For each class, what the ranking's first optimizer predicts."""
    leader = next(iter(results.comparison.optimizers))
    cells = [cell for cell in results.confusion if cell.optimizer == leader]
    names = results.comparison.dataset.class_names
    if not cells or len(names) > N_CLASSES:
        return None
    errors = [cell for cell in cells if cell.actual != cell.predicted and cell.share]
    errors.sort(key=lambda cell: -cell.share)
    return Figure(
        title=f"Confusion matrix: {leader}",
        caption="Percentage of each class's test examples, over all seeds; blank below 0.5.",
        chart=_chart(cells, names),
        table=Table(
            ("actual", "predicted", "share"),
            [(cell.actual, cell.predicted, f"{cell.share:.1%}") for cell in errors[:10]],
        ),
        is_narrow=True,
    )


def _chart(cells: Sequence[ConfusionCell], names: Sequence[str]) -> alt.LayerChart:
    rows = [
        {
            "actual": cell.actual,
            "predicted": cell.predicted,
            "share": cell.share,
            "text": f"{100 * cell.share:.0f}" if cell.share >= 0.005 else "",
        }
        for cell in cells
    ]
    # Slanted towards the side where the other axis's labels leave room.
    angle = 45 if max(map(len, names)) > 2 else 0
    x = alt.X("predicted:N", sort=names).axis(orient="top", labelAngle=angle, labelOverlap=False)
    y = alt.Y("actual:N", sort=names)
    shade = alt.Opacity("share:Q", legend=None)
    shade = shade.scale(type="sqrt", domain=[0, 1], range=[0, 0.6])
    about = [alt.Tooltip("actual:N"), alt.Tooltip("predicted:N"), SHARE]
    squares = plot(rows, x=x, y=y, opacity=shade, tooltip=about)
    return layers(
        squares.mark_rect(color=COLOURS[0]),
        plot(rows, x=x, y=y, text=alt.Text("text:N")).mark_text(fontSize=11),
        height=26 * len(names),
    )
