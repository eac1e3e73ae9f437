"""What to expect from only a few learning rates."""

import altair as alt

from stages.report.charts.base import ACCURACY, Figure, Results, by_shape, choosable_layers, plot
from stages.report.tables import as_table, plural


def budget(results: Results) -> Figure | None:
    """Expected best validation accuracy against the number of learning rates tried."""
    if all(point.validation_accuracy is None for point in results.tuning):
        return None
    rows = [
        {"optimizer": p.optimizer, "n_rates": p.n_rates, "accuracy": p.expected_best}
        for p in results.budget
    ]
    lines = plot(
        rows,
        x=alt.X("n_rates:O", title="learning rates tried").axis(labelAngle=0),
        y=alt.Y("accuracy:Q", title="expected best accuracy").scale(zero=False),
        tooltip=["optimizer:N", alt.Tooltip("n_rates:O", title="rates tried"), ACCURACY],
    )
    marks = lines.encode(shape=by_shape(results.comparison.optimizers))
    cells: dict[str, dict[str, str]] = {name: {} for name in results.comparison.optimizers}
    for p in results.budget:
        cells[p.optimizer][plural(p.n_rates, "rate")] = f"{p.expected_best:.4f}"
    sentence = results.comparison.budget
    return Figure(
        title="If you can try only a few learning rates",
        caption="The best validation accuracy to expect from that many rates, drawn at random from "
        "the grid." + (f" {sentence}" if sentence else ""),
        chart=choosable_layers(
            results.comparison.optimizers,
            lines.mark_line(strokeWidth=2),
            marks.mark_point(filled=True, size=60, opacity=1),
            height=260,
        ),
        table=as_table({"optimizer": name, **row} for name, row in cells.items() if row),
    )
