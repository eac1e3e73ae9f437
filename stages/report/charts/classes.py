"""The classes on which the optimizers differ."""

import altair as alt

from stages.report.charts.base import (
    OPTIMIZER,
    SHARE,
    Figure,
    Results,
    by_shape,
    choosable_layers,
    leaders,
    plot,
)
from stages.report.tables import Table

N_CLASSES = 12


def classes(results: Results) -> Figure | None:
    """The classes on which the optimizers differ most."""
    right = {
        (cell.actual, cell.optimizer): cell.share
        for cell in results.confusion
        if cell.actual == cell.predicted
    }
    scored = {optimizer for _, optimizer in right}
    optimizers = [name for name in results.comparison.optimizers if name in scored]
    if len(optimizers) < 2:
        return None
    shares = {
        name: [right[name, optimizer] for optimizer in optimizers]
        for name in dict.fromkeys(actual for actual, _ in right)
    }
    widest = sorted(shares, key=lambda name: min(shares[name]) - max(shares[name]))[:N_CLASSES]
    rows = [
        {"class": name, "optimizer": optimizer, "share": share}
        for name in widest
        for optimizer, share in zip(optimizers, shares[name], strict=True)
    ]
    points = plot(
        rows,
        x=alt.X("share:Q", title="share recognised").scale(zero=False).axis(tickCount=6),
        y=alt.Y("class:N", sort=widest, title=None),
        shape=by_shape(results.comparison.optimizers),
        tooltip=[alt.Tooltip("class:N"), OPTIMIZER, SHARE],
    )
    return Figure(
        title="Where the optimizers differ",
        caption="Share of each class's test examples that is recognised, over all seeds. The class "
        "on which the optimizers differ most comes first.",
        chart=choosable_layers(
            results.comparison.optimizers,
            points.mark_point(filled=True, size=80, opacity=0.9),
            height=26 * len(widest),
            shown=leaders(results.comparison),
        ),
        table=Table(
            ("optimizer", *widest),
            [
                (optimizer, *(f"{right[name, optimizer]:.1%}" for name in widest))
                for optimizer in optimizers
            ],
        ),
        is_narrow=True,
    )
