"""The charts, as Vega-Lite: the page draws them live, and the pictures come from the same."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from statistics import median
from typing import Any, Literal

import altair as alt

from stages.common.artifacts import (
    BudgetPoint,
    Comparison,
    ConfusionCell,
    CurvePoint,
    Mistakes,
    ScoreRow,
    TuningPoint,
)
from stages.common.params import Params
from stages.report.tables import Table, interval, number

Row = dict[str, Any]

# Each stands out from white and from nearly black by 3 to 1; the shapes tell what colours do not.
COLOURS = (
    "#0b7bc1", "#d55e00", "#00926b", "#b05fa8", "#8a7a00", "#7468d8", "#c0506a", "#6f7a80",
)  # fmt: skip
SHAPES = ("circle", "square", "triangle-up", "diamond", "cross", "triangle-down", "triangle-right")
N_MARKS = 6
N_TICKS = 10
N_CLASSES = 12
# Of tooltips.
ACCURACY = alt.Tooltip("accuracy:Q", format=".4f")
LEARNING_RATE = alt.Tooltip("learning_rate:Q", title="learning rate", format=".3~g")


@dataclass(frozen=True)
class Results:
    """What the report is made of."""

    params: Params
    comparison: Comparison
    scores: Sequence[ScoreRow]
    curves: Sequence[CurvePoint]
    tuning: Sequence[TuningPoint]
    budget: Sequence[BudgetPoint]
    confusion: Sequence[ConfusionCell]
    mistakes: Mistakes


@dataclass(frozen=True)
class Figure:
    """A chart with what stands around it; the table holds the same for who does not see it."""

    name: str
    title: str
    caption: str
    chart: alt.LayerChart
    table: Table


@dataclass(frozen=True)
class Look:
    """The colour and the shape of an optimizer, the same in every chart."""

    colour: str
    shape: str


def assign_looks(names: Iterable[str]) -> dict[str, Look]:
    """In alphabetical order, so that a new ranking recolours nothing."""
    return {
        name: Look(COLOURS[i % len(COLOURS)], SHAPES[i % len(SHAPES)])
        for i, name in enumerate(sorted(names))
    }


def draw(results: Results) -> dict[str, Figure]:
    """Every chart that the results have something for, in the order of the page."""
    drawings = (ranking, curves, sensitivity, budget, speed, confusion, classes)
    figures = [drawing(results) for drawing in drawings]
    return {figure.name: figure for figure in figures if figure is not None}


def ranking(results: Results) -> Figure:
    """Test accuracy with its interval, tuned and configured, the best on top."""
    comparison = results.comparison
    rows: list[Row] = [
        {
            "optimizer": name,
            "rate": rate,
            "learning_rate": confirmed.learning_rate,
            "accuracy": confirmed.test_accuracy.mean,
            "low": confirmed.test_accuracy.low,
            "high": confirmed.test_accuracy.high,
            "interval": interval(confirmed.test_accuracy.low, confirmed.test_accuracy.high),
            "diverged": f"{confirmed.n_diverged} of {confirmed.n_trials}",
        }
        for name, standing in comparison.optimizers.items()
        for rate, confirmed in (("tuned", standing.tuned), ("configured", standing.configured))
        if rate == "tuned" or confirmed.learning_rate != standing.tuned.learning_rate
    ]
    least = _least_shown([row["accuracy"] for row in rows if row["rate"] == "tuned"])
    seen = [row for row in rows if row["accuracy"] is not None and row["accuracy"] >= least]
    beyond = [row | {"text": _beyond(row)} for row in rows if row not in seen]
    ranges = [row | {"low": max(row["low"], least)} for row in seen if row["low"] is not None]
    tuned = {name: s.tuned.learning_rate for name, s in comparison.optimizers.items()}
    seeds: list[Row] = [
        {"optimizer": s.optimizer, "rate": "tuned", "accuracy": s.test_accuracy, "seed": s.seed}
        for s in results.scores
        if s.learning_rate == tuned.get(s.optimizer) and s.test_accuracy >= least
    ]
    rates = [rate for rate in ("tuned", "configured") if any(r["rate"] == rate for r in rows)]
    y = {
        "y": alt.Y("optimizer:N", sort=list(comparison.optimizers), title=None),
        "yOffset": alt.YOffset("rate:N", scale=alt.Scale(domain=rates), sort=rates),
    }
    x = alt.X("accuracy:Q", title="test accuracy", scale=alt.Scale(zero=False))
    x = x.axis(tickCount=6)
    colour = _colour(results, legend=None)
    about = ("optimizer:N", "rate:N", LEARNING_RATE)
    ends = ("interval:N", "diverged:N")
    filled = alt.condition("datum.rate == 'tuned'", alt.value(1), alt.value(0))
    shape = alt.Shape(
        "rate:N",
        scale=alt.Scale(domain=rates, range=["circle", "diamond"][: len(rates)]),
        title=None,
    )
    chart = _layers(
        _chart(seeds).mark_tick(opacity=0.4).encode(x=x, color=colour, **y),
        _chart(ranges).mark_rule(strokeWidth=2).encode(x="low:Q", x2="high:Q", color=colour, **y),
        _chart(seen)
        .mark_point(size=90, strokeWidth=2, opacity=1)
        .encode(
            x=x,
            color=colour,
            fill=alt.Fill("optimizer:N", scale=_scale(results, "colour"), legend=None),
            fillOpacity=filled,
            shape=shape,
            tooltip=[*about, ACCURACY, *ends],
            **y,
        ),
        _chart(beyond)
        .mark_text(align="left", dx=4)
        .encode(x=alt.value(0), text="text:N", tooltip=[*about, *ends], **y),
        height=(16 + 16 * len(rates)) * len(comparison.optimizers),
    )
    confidence = f"{100 * comparison.confidence:g} %"
    return Figure(
        name="ranking",
        title="Ranking",
        caption=f"Mean test accuracy with Student's {confidence} interval over fresh seeds. Dots: "
        "at the learning rate that tuning chose, with a tick for each seed. Diamonds: at the "
        "configured rate, where that is another one."
        + " ◄ lies left of the chart."
        * any(row["accuracy"] is not None for row in beyond),
        chart=chart,
        table=Table(
            ("optimizer", "rate", "learning rate", "accuracy", "low", "high", "diverged"),
            [
                (
                    row["optimizer"],
                    row["rate"],
                    f"{row['learning_rate']:.3g}",
                    *(number(row[field], ".4f") for field in ("accuracy", "low", "high")),
                    row["diverged"],
                )
                for row in rows
            ],
        ),
    )


def _least_shown(accuracies: Sequence[float | None]) -> float:
    """Keeps one that is far behind from pressing the others together."""
    known = sorted(accuracy for accuracy in accuracies if accuracy is not None)
    return known[-1] - max(0.05, 3 * (known[-1] - median(known))) if known else 0.0


def _beyond(row: Row) -> str:
    return "every trial diverged" if row["accuracy"] is None else f"◄ {row['accuracy']:.4f}"


def curves(results: Results) -> Figure | None:
    """Accuracy by epoch, training and validation, with the range over seeds."""
    n_epochs = max((point.epoch for point in results.curves), default=0)
    marked = set(range(n_epochs, 0, -ceil(n_epochs / N_MARKS or 1)))
    rows: list[Row] = [
        {
            "optimizer": point.optimizer,
            "split": "training" if point.split == "train" else "validation",
            "epoch": point.epoch,
            "accuracy": point.accuracy,
            "low": point.accuracy_low,
            "high": point.accuracy_high,
        }
        for point in results.curves
    ]
    if not rows:
        return None
    splits = ["validation", "training"]
    dash = alt.StrokeDash(
        "split:N",
        scale=alt.Scale(domain=splits, range=[[1, 0], [4, 3]]),
        title=None,
    )
    least = _least_of_curves([row["accuracy"] for row in rows if row["epoch"] == n_epochs])
    x = alt.X("epoch:Q", scale=alt.Scale(nice=False))
    x = x.axis(values=_whole_ticks(1, n_epochs), format="d", grid=False)
    scale = alt.Scale(zero=False, domainMin=least)
    y = alt.Y("accuracy:Q", title="accuracy", scale=scale)
    colour = _colour(results)
    points = [row for row in rows if row["epoch"] in marked]
    validation = [row for row in rows if row["split"] == "validation"]
    seen = [row for row in validation if row["epoch"] in marked and row["accuracy"] >= least]
    is_cut = any(row["low"] < least for row in rows)
    chart = _layers(
        _chart(validation)
        .transform_filter(SHOWN)
        .mark_area(opacity=0.15, clip=True)
        .encode(x=x, y=alt.Y("low:Q", title="accuracy", scale=scale), y2="high:Q", color=colour),
        _chart(rows)
        .transform_filter(SHOWN)
        .mark_line(strokeWidth=1.5, clip=True)
        .encode(x=x, y=y, color=colour, strokeDash=dash),
        _chart(seen)
        .transform_filter(SHOWN)
        .mark_point(filled=True, size=50, opacity=1)
        .encode(
            x=x,
            y=y,
            color=colour,
            shape=_shape(results),
            tooltip=[
                "optimizer:N",
                "epoch:Q",
                ACCURACY,
                alt.Tooltip("low:Q", title="lowest seed", format=".4f"),
                alt.Tooltip("high:Q", title="highest seed", format=".4f"),
            ],
        ),
        height=340,
    )
    return Figure(
        name="curves",
        title="Learning curves",
        caption="Mean accuracy after each epoch at the tuned learning rate. Solid, in a band from "
        "the lowest to the highest seed: validation. Dashed: training, as the mean of the epoch's "
        "minibatches, each before its update." + " What lies below the chart is cut off." * is_cut,
        chart=chart.add_params(shown(results.comparison.optimizers)),
        table=Table(
            ("optimizer", "images", *(f"epoch {epoch}" for epoch in sorted(marked))),
            [
                (
                    name,
                    split,
                    *(f"{row['accuracy']:.4f}" for row in points if _is(row, name, split)),
                )
                for name in results.comparison.optimizers
                for split in splits
                if any(_is(row, name, split) for row in points)
            ],
        ),
    )


def _least_of_curves(final: Sequence[float]) -> float:
    """Where the axis begins so that the last epoch's accuracies have half of it."""
    return max(0, min(final) - max(0.05, max(final) - min(final)))


def _whole_ticks(first: int, last: int) -> list[int]:
    """About N_TICKS whole numbers; Vega's own may lie between them."""
    steps = (factor * 10**power for power in range(9) for factor in (1, 2, 5))
    step = next(step for step in steps if last - first <= N_TICKS * step)
    return [n for n in range(first, last + 1) if n % step == 0]


def _is(row: Row, optimizer: str, split: str) -> bool:
    return bool(row["optimizer"] == optimizer and row["split"] == split)


def sensitivity(results: Results) -> Figure:
    """Validation accuracy by learning rate over the tuning grid."""
    rows: list[Row] = [
        {
            "optimizer": point.optimizer,
            "learning_rate": point.learning_rate,
            "accuracy": point.validation_accuracy,
            "choice": point.choice,
            "diverged": f"{point.n_diverged} of {point.n_trials}",
        }
        for point in results.tuning
    ]
    seen = [row for row in rows if row["accuracy"] is not None]
    diverged = [row for row, point in zip(rows, results.tuning, strict=True) if point.n_diverged]
    chosen = [row for row in seen if row["choice"] in {"tuned", "both"}]
    configured = [row for row in seen if row["choice"] in {"configured", "both"}]
    x = alt.X("learning_rate:Q", title="learning rate", scale=alt.Scale(type="log"))
    x = x.axis(format="~g", tickCount=5, grid=False)
    y = alt.Y("accuracy:Q", title="validation accuracy", scale=alt.Scale(zero=False))
    colour = _colour(results)

    def layer(rows: Sequence[Row], *more: Any) -> alt.Chart:
        tooltip = ["optimizer:N", LEARNING_RATE, *more, "choice:N", "diverged:N"]
        return _chart(rows).transform_filter(SHOWN).encode(x=x, color=colour, tooltip=tooltip)

    chart = _layers(
        layer(seen).mark_line(strokeWidth=1.5).encode(y=y, tooltip=alt.value(None)),
        layer(seen, ACCURACY)
        .mark_point(filled=True, size=35, opacity=1)
        .encode(y=y, shape=_shape(results)),
        layer(chosen, ACCURACY)
        .mark_point(filled=True, size=170, opacity=1)
        .encode(y=y, shape=_shape(results)),
        layer(configured, ACCURACY)
        .mark_point(size=260, strokeWidth=1.5, shape="circle")
        .encode(y=y),
        layer(diverged)
        .mark_point(shape="cross", angle=45, filled=True, size=90, yOffset=-6, opacity=1)
        .encode(y=alt.value("height")),
        height=300,
    )
    return Figure(
        name="sensitivity",
        title="Learning rates",
        caption="Mean validation accuracy of the tuning trials. Large mark: the rate that tuning "
        "chose. Ring: the configured rate. Cross at the foot: a rate at which trials diverged. A "
        "broad summit forgives a careless choice.",
        chart=chart.add_params(shown(results.comparison.optimizers)),
        table=Table(
            ("optimizer", "learning rate", "validation accuracy", "diverged", "choice"),
            [
                (
                    row["optimizer"],
                    f"{row['learning_rate']:.3g}",
                    number(row["accuracy"], ".4f"),
                    row["diverged"],
                    row["choice"],
                )
                for row in rows
            ],
        ),
    )


def budget(results: Results) -> Figure | None:
    """Expected best validation accuracy by the number of learning rates tried."""
    if all(point.validation_accuracy is None for point in results.tuning):
        return None
    rows: list[Row] = [
        {"optimizer": p.optimizer, "n_rates": p.n_rates, "accuracy": p.expected_best}
        for p in results.budget
    ]
    counts = sorted({point.n_rates for point in results.budget})
    x = alt.X("n_rates:O", title="learning rates tried", axis=alt.Axis(labelAngle=0))
    y = alt.Y("accuracy:Q", title="expected best accuracy", scale=alt.Scale(zero=False))
    base = (
        _chart(rows)
        .transform_filter(SHOWN)
        .encode(
            x=x,
            y=y,
            color=_colour(results),
            tooltip=["optimizer:N", alt.Tooltip("n_rates:O", title="rates tried"), ACCURACY],
        )
    )
    chart = _layers(
        base.mark_line(strokeWidth=2),
        base.mark_point(filled=True, size=60, opacity=1).encode(shape=_shape(results)),
        height=260,
    )
    sentence = results.comparison.budget
    return Figure(
        name="budget",
        title="If you can try only a few learning rates",
        caption="The best validation accuracy to be expected of so many rates, drawn at random "
        "from the grid" + (f". {sentence}" if sentence else "."),
        chart=chart.add_params(shown(results.comparison.optimizers)),
        table=Table(
            ("optimizer", *(f"{n} rate{'s' * (n > 1)}" for n in counts)),
            [
                (name, *(f"{row['accuracy']:.4f}" for row in rows if row["optimizer"] == name))
                for name in results.comparison.optimizers
                if any(row["optimizer"] == name for row in rows)
            ],
        ),
    )


def speed(results: Results) -> Figure | None:
    """Epochs to the target, over the confirmation trials."""
    comparison = results.comparison
    target = comparison.target_accuracy
    if target is None:
        return None
    criteria = {name: s.criteria for name, s in comparison.optimizers.items()}
    reached = {
        name: f"{len(each.epochs_reached)} of {comparison.optimizers[name].tuned.n_trials}"
        for name, each in criteria.items()
    }
    seeds: list[Row] = [
        {"optimizer": name, "epochs": epochs, "seeds": n}
        for name, each in criteria.items()
        for epochs, n in sorted(Counter(each.epochs_reached).items())
    ]
    medians: list[Row] = [
        {"optimizer": name, "epochs": each.epochs_to_target, "reached": reached[name]}
        for name, each in criteria.items()
        if each.epochs_to_target is not None
    ]
    texts: list[Row] = [
        {"optimizer": name, "text": "never" if not each.epochs_reached else reached[name]}
        for name, each in criteria.items()
    ]
    y = alt.Y("optimizer:N", sort=list(criteria), title=None)
    longest = max((row["epochs"] for row in seeds), default=1)
    x = alt.X("epochs:Q", title="epochs to the target", scale=alt.Scale(domain=[0, longest]))
    x = x.axis(values=_whole_ticks(0, longest), format="d")
    colour = _colour(results, legend=None)
    chart = _layers(
        _chart(seeds)
        .mark_circle(opacity=0.35)
        .encode(
            x=x,
            y=y,
            color=colour,
            size=alt.Size("seeds:Q", scale=alt.Scale(range=[40, 240]), legend=None),
            tooltip=["optimizer:N", "epochs:Q", "seeds:Q"],
        ),
        _chart(medians)
        .mark_tick(thickness=3, size=22, opacity=1)
        .encode(
            x=x,
            y=y,
            color=colour,
            tooltip=[
                "optimizer:N",
                alt.Tooltip("epochs:Q", title="median of epochs"),
                "reached:N",
            ],
        ),
        _chart(texts)
        .mark_text(align="left", dx=12)
        .encode(x=alt.value("width"), y=y, text="text:N"),
        height=34 * len(criteria),
    )
    return Figure(
        name="speed",
        title="Epochs to the target",
        caption=f"Epochs until validation accuracy reached {target:.4f}: the median as a bar, dots "
        "for the seeds, larger where several took as long. On the right: how many reached it.",
        chart=chart,
        table=Table(
            ("optimizer", "epochs, median", "steps, median", "reached"),
            [
                (
                    name,
                    number(each.epochs_to_target, "g"),
                    number(each.steps_to_target, ",.10g"),
                    reached[name],
                )
                for name, each in criteria.items()
            ],
        ),
    )


def confusion(results: Results) -> Figure | None:
    """What the ranking's first optimizer takes each class for."""
    leader = next(iter(results.comparison.optimizers))
    names = results.comparison.dataset.class_names
    cells = [cell for cell in results.confusion if cell.optimizer == leader]
    if not cells:
        return None
    rows: list[Row] = [
        {
            "actual": cell.actual,
            "predicted": cell.predicted,
            "share": cell.share,
            "text": f"{100 * cell.share:.0f}" if cell.share >= 0.005 else "",
        }
        for cell in cells
    ]
    # Leaning to where the labels of the other axis make room.
    angle = 45 if max(map(len, names)) > 2 else 0
    x = alt.X("predicted:N", sort=list(names))
    x = x.axis(orient="top", labelAngle=angle, labelOverlap=False)
    y = alt.Y("actual:N", sort=list(names))
    shade = alt.Opacity(
        "share:Q", scale=alt.Scale(type="sqrt", domain=[0, 1], range=[0, 0.6]), legend=None
    )
    chart = _layers(
        _chart(rows)
        .mark_rect(color=COLOURS[0])
        .encode(
            x=x,
            y=y,
            opacity=shade,
            tooltip=["actual:N", "predicted:N", alt.Tooltip("share:Q", format=".1%")],
        ),
        _chart(rows).mark_text(fontSize=11).encode(x=x, y=y, text="text:N"),
        height=26 * len(names),
    )
    errors = sorted((c for c in cells if c.actual != c.predicted), key=lambda c: -c.share)
    return Figure(
        name="confusion",
        title=f"What {leader} takes for what",
        caption="Per cent of each class's test images, over all seeds; blank below 0.5.",
        chart=chart,
        table=Table(
            ("actual", "taken for", "share"),
            [(c.actual, c.predicted, f"{c.share:.1%}") for c in errors[:10] if c.share],
        ),
    )


def classes(results: Results) -> Figure | None:
    """The classes on which the optimizers differ most."""
    right = {
        (cell.actual, cell.optimizer): cell.share
        for cell in results.confusion
        if cell.actual == cell.predicted
    }
    optimizers = [o for o in results.comparison.optimizers if any(o == key[1] for key in right)]
    if len(optimizers) < 2:
        return None
    shares = {
        name: [right[name, optimizer] for optimizer in optimizers]
        for name in dict.fromkeys(actual for actual, _ in right)
    }
    widest = sorted(shares, key=lambda name: min(shares[name]) - max(shares[name]))[:N_CLASSES]
    rows: list[Row] = [
        {"class": name, "optimizer": optimizer, "share": share}
        for name in widest
        for optimizer, share in zip(optimizers, shares[name], strict=True)
    ]
    y = alt.Y("class:N", sort=widest, title=None)
    x = alt.X("share:Q", title="share recognised", scale=alt.Scale(zero=False))
    x = x.axis(tickCount=6)
    chart = _layers(
        _chart(rows)
        .transform_filter(SHOWN)
        .mark_point(filled=True, size=80, opacity=0.9)
        .encode(
            x=x,
            y=y,
            color=_colour(results),
            shape=_shape(results),
            tooltip=["class:N", "optimizer:N", alt.Tooltip("share:Q", format=".1%")],
        ),
        height=26 * len(widest),
    )
    return Figure(
        name="classes",
        title="Where the optimizers differ",
        caption="Share of each class's test images that is recognised, over all seeds; the class "
        "on which the optimizers differ most on top.",
        chart=chart.add_params(shown(results.comparison.optimizers)),
        table=Table(
            ("class", *optimizers),
            [(name, *(f"{share:.1%}" for share in shares[name])) for name in widest],
        ),
    )


def spec(chart: alt.LayerChart, config: Mapping[str, Any], width: int | str) -> dict[str, Any]:
    """The chart as Vega-Lite."""
    return {**chart.properties(width=width).to_dict(), "config": dict(config)}


SHOWN = "indexof(shown, datum.optimizer) >= 0"


def shown(names: Iterable[str]) -> alt.Parameter:
    """The optimizers that the page's legend has ticked; charts are filtered by `SHOWN`."""
    return alt.param(name="shown", value=list(names))


def look_scale(named: Mapping[str, Look], of: Literal["colour", "shape"]) -> alt.Scale:
    return alt.Scale(domain=list(named), range=[getattr(look, of) for look in named.values()])


def _chart(rows: Sequence[Row]) -> alt.Chart:
    return alt.Chart(alt.InlineData(values=list(rows)))


def _layers(*charts: alt.Chart, height: int) -> alt.LayerChart:
    """One over the other, those without data left out: Vega warns of them."""
    layers = [chart for chart in charts if chart.data.values]
    return alt.LayerChart(layer=layers, height=height)


def _scale(results: Results, of: Literal["colour", "shape"]) -> alt.Scale:
    return look_scale(assign_looks(results.params.optimizers), of)


def _colour(results: Results, **options: Any) -> alt.Color:
    return alt.Color("optimizer:N", scale=_scale(results, "colour"), title=None, **options)


def _shape(results: Results) -> alt.Shape:
    return alt.Shape("optimizer:N", scale=_scale(results, "shape"), title=None)
