"""Validation score by learning rate."""

from collections.abc import Iterable

import altair as alt

from stages.common.results import TuningPoint
from stages.common.score import Score
from stages.report.charts.base import (
    LEARNING_RATE,
    SCORE,
    Figure,
    Results,
    by_shape,
    choosable_layers,
    plot,
    worst_shown,
)
from stages.report.tables import as_table, number


def sensitivity(results: Results) -> Figure:
    """Validation score by learning rate over the tuning grid."""
    name = results.comparison.score.name
    return Figure(
        title="Learning rates",
        caption=f"Mean validation {name} of the tuning trials. Large mark: the tuned rate. "
        "Ring: the configured rate. Cross at the bottom: a rate at which trials failed. Rates that "
        "do far worse lie on the bottom line. A flat top means that the exact rate matters little.",
        chart=_chart(results),
        table=as_table(
            {
                "optimizer": point.optimizer,
                "learning rate": f"{point.learning_rate:.3g}",
                f"validation {name}": number(point.validation_score, ".4f"),
                "failed": f"{point.n_failed} of {point.n_trials}",
                "choice": point.choice,
            }
            for point in results.tuning
        ),
    )


def _chart(results: Results) -> alt.LayerChart:
    score = results.comparison.score
    seen = [point for point in results.tuning if point.validation_score is not None]
    chosen = [p.validation_score for p in seen if p.choice in {"tuned", "both", "configured"}]
    worst = worst_shown(chosen, score)
    tuned = [point for point in seen if point.choice in {"tuned", "both"}]
    configured = [point for point in seen if point.choice in {"configured", "both"}]
    failed = [point for point in results.tuning if point.n_failed]
    rate = alt.X("learning_rate:Q", title="learning rate").scale(type="log")
    x = rate.axis(format="~g", tickCount=5, grid=False)

    def rows(points: Iterable[TuningPoint]) -> list[dict[str, object]]:
        return [_row(point, worst, score) for point in points]

    # The better end on top.
    scale = alt.Scale(zero=False, reverse=score.sign < 0)
    y = alt.Y("shown:Q", title=f"validation {score.name}", scale=scale)
    bottom = alt.value("height")
    tooltip = ["optimizer:N", LEARNING_RATE, SCORE, "choice:N", "failed:N"]
    marks = {"x": x, "y": y, "shape": by_shape(results.comparison.optimizers), "tooltip": tooltip}
    line = plot(rows(seen), x=x, y=y, tooltip=alt.value(None))
    rings = plot(rows(configured), x=x, y=y, tooltip=tooltip)
    tooltip = [told for told in tooltip if told is not SCORE]
    crosses = plot(rows(failed), x=x, y=bottom, tooltip=tooltip)
    return choosable_layers(
        results.comparison.optimizers,
        line.mark_line(strokeWidth=1.5),
        plot(rows(seen), **marks).mark_point(filled=True, size=35, opacity=1),
        plot(rows(tuned), **marks).mark_point(filled=True, size=170, opacity=1),
        rings.mark_point(size=260, strokeWidth=1.5, shape="circle"),
        crosses.mark_point(shape="cross", angle=45, filled=True, size=90, yOffset=-6, opacity=1),
        height=300,
    )


def _row(point: TuningPoint, worst: float, score: Score) -> dict[str, object]:
    value = point.validation_score
    return {
        "shown": None if value is None else max(value, worst, key=score.merit),
        "optimizer": point.optimizer,
        "learning_rate": point.learning_rate,
        "score": point.validation_score,
        "choice": point.choice,
        "failed": f"{point.n_failed} of {point.n_trials}",
    }
