"""The charts as Vega-Lite, and the tables beside them."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import chain
from typing import Any

import numpy as np
import pytest

from stages.common.results import Look
from stages.common.score import Score, score_of
from stages.evaluate.scored import ScoredRun
from stages.report.charts.base import (
    COLOURS,
    SHAPES,
    Figure,
    Results,
    assign_looks,
    name_lines,
    score_scale,
    spec,
    whole_ticks,
)
from stages.report.charts.registry import draw
from tests import regression
from tests.examples import group, scored_run
from tests.parameters import COMMITTED, optimizer
from tests.results import CASES, ODD_NAMES, lost, of_numbers, results, rising, tuned_higher

ALL = ["ranking", "race", "pairs", "curves", "sensitivity", "speed", "confusion", "classes"]
USUAL = {"sgd": tuned_higher(0.92, 0.88), "adam": scored_run(rising(0.9))}
POSITIONS = ("x", "y", "x2", "y2", "xOffset", "yOffset")
Case = tuple[Results, Mapping[str, Figure]]


@pytest.fixture(scope="module", params=CASES)
def case(request: pytest.FixtureRequest) -> Case:
    """One of the cases, and its figures."""
    found: Results = CASES[request.param]()
    return found, draw(found)


def drawn(outcomes: Mapping[str, ScoredRun]) -> dict[str, Figure]:
    return draw(results(outcomes))


def rows(figure: Figure) -> dict[str, list[str]]:
    """The table's cells by the first of their row."""
    return {first: list(others) for first, *others in figure.table.rows}


def layers(figure: Figure) -> Iterator[tuple[dict[str, Any], list[dict[str, Any]]]]:
    """Every layer with the rows of data that it draws."""
    if figure.chart is None:
        return
    content = spec(figure.chart, {}, 640)
    nested = (layer.get("layer", [layer]) for layer in content["layer"])
    for layer in chain.from_iterable(nested):
        data = layer.get("data", content.get("data", {}))
        yield layer, data.get("values", content.get("datasets", {}).get(data.get("name"), []))


def encoded(layer: Mapping[str, Any]) -> dict[str, list[str]]:
    """The fields by channel; there are several in a tooltip."""
    channels = {
        name: channel if isinstance(channel, list) else [channel]
        for name, channel in layer["encoding"].items()
    }
    return {
        name: [each["field"] for each in channel if each and "field" in each]
        for name, channel in channels.items()
    }


def column(figure: Figure, channel: str) -> list[Any]:
    """What is drawn of a channel's fields, over all layers."""
    return [
        row[field]
        for layer, data in layers(figure)
        for field in encoded(layer).get(channel, [])
        for row in data
    ]


@pytest.mark.parametrize(
    ("case", "names"),
    [
        ("usual", ALL),
        ("one", [name for name in ALL if name not in {"race", "pairs", "classes"}]),
        ("ten", ALL),
        ("one_diverged", ALL),
        ("numbers", [*ALL[:-2], "fitted"]),
        ("all_diverged", ["ranking", "race", "pairs", "sensitivity"]),
    ],
    indirect=["case"],
)
def test_what_can_be_drawn_is_drawn(case: Case, names: list[str]) -> None:
    _, figures = case
    assert list(figures) == names


def test_every_mark_has_all_that_it_draws_and_tells(case: Case) -> None:
    _, figures = case
    for name, figure in figures.items():
        for layer, data in layers(figure):
            assert data != []
            for channel, fields in encoded(layer).items():
                for field in fields:
                    unknown = [row for row in data if row.get(field) is None]
                    assert unknown == [], (name, channel, field)


def test_every_figure_has_valid_json_for_its_chart_and_a_full_table(case: Case) -> None:
    _, figures = case
    for figure in figures.values():
        if figure.chart is not None:
            figure.chart.to_dict()  # raises where it breaks Vega-Lite's schema
            json.dumps(spec(figure.chart, {}, "container"), allow_nan=False)
        assert {len(row) for row in figure.table.rows} <= {len(figure.table.headers)}
        cells = [cell for row in figure.table.rows for cell in row]
        assert {type(cell) for cell in cells} <= {str}
        assert {"None", "nan", "inf"} & set(cells) == set()


def test_an_optimizer_has_the_same_colour_and_shape_in_every_chart(case: Case) -> None:
    found, figures = case
    looks = assign_looks(found.params.optimizers)
    scales = []
    for figure in figures.values():
        for layer, _ in layers(figure):
            for channel, of in (("color", "colour"), ("fill", "colour"), ("shape", "shape")):
                each = layer["encoding"].get(channel, {})
                if each.get("field") == "optimizer":
                    expected = [getattr(look, of) for look in looks.values()]
                    scales.append(each["scale"] == {"domain": list(looks), "range": expected})
    assert scales != []
    assert all(scales)


def test_many_optimizers_have_different_looks_that_no_order_changes() -> None:
    names = [f"optimizer_{i:02}" for i in range(len(COLOURS) * len(SHAPES))]
    looks = assign_looks(names)
    assert len(set(looks.values())) == len(names)
    assert assign_looks(reversed(names)) == looks


def test_the_ranking_is_a_row_for_each_rate_the_best_first() -> None:
    table = drawn(USUAL)["ranking"].table
    assert table.rows == [
        ("sgd", "tuned", "1", "0.9200", "0.9081", "0.9319", "0 of 10"),
        ("sgd", "configured", "0.1", "0.8800", "0.8681", "0.8919", "0 of 10"),
        ("adam", "tuned", "0.1", "0.9000", "0.8881", "0.9119", "0 of 10"),
    ]


def test_one_that_is_far_behind_is_told_beyond_the_ranking_and_does_not_stretch_it() -> None:
    near = {
        "a": scored_run(rising(0.9)),
        "b": scored_run(rising(0.88)),
        "c": scored_run(rising(0.87)),
    }
    ranking = drawn({**near, "far": scored_run(rising(0.3)), "lost": lost()})["ranking"]
    assert column(ranking, "text") == ["◄ 0.3000", "every trial failed"]
    assert min(column(ranking, "x")) > 0.8
    assert min(column(ranking, "x2")) > 0.8
    assert rows(ranking)["far"][2] == "0.3000"
    assert rows(ranking)["lost"][2:] == ["-", "-", "-", "10 of 10"]


def test_the_ranking_has_no_room_for_configured_rates_where_there_are_none() -> None:
    def offsets(outcomes: Mapping[str, ScoredRun]) -> set[str]:
        return set(column(drawn(outcomes)["ranking"], "yOffset"))

    assert offsets(USUAL) == {"tuned", "configured"}
    assert offsets({"adam": USUAL["adam"]}) == {"tuned"}


def test_the_curves_are_the_mean_after_each_epoch() -> None:
    curves = drawn({"adam": scored_run(rising(0.8))})["curves"]
    assert curves.table.headers == ("optimizer", "examples", *(f"epoch {n}" for n in range(1, 6)))
    means = [f"{share * 0.8:.4f}" for share in (0.5, 0.7, 0.9, 0.95, 1.0)]
    assert curves.table.rows == [
        ("adam", "validation", *means),
        ("adam", "training", *means),
    ]


def least_shown(outcomes: Mapping[str, ScoredRun]) -> float:
    curves = drawn(outcomes)["curves"]
    (least,) = {layer["encoding"]["y"]["scale"]["domainMin"] for layer, _ in layers(curves)}
    return float(least)


def flat(accuracy: float) -> ScoredRun:
    """The same accuracy with every seed and after every epoch but the first two."""
    return scored_run(group([accuracy] * 10, [[0.1, 0.1, *[accuracy] * 3]] * 10))


def test_the_curves_show_what_separates_the_leaders() -> None:
    # As far as the best is from a perfect score, but 5 points at most.
    assert least_shown({"a": flat(0.98)}) == pytest.approx(0.96)
    assert least_shown({"a": flat(0.7)}) == pytest.approx(0.65)
    # Three times as far as the median is.
    three = {"a": flat(0.9), "b": flat(0.87), "c": flat(0.2)}
    assert least_shown(three) == pytest.approx(0.9 - 3 * 0.03)
    assert least_shown({"a": flat(0.9), "b": flat(0.2)}) == 0
    # All of the second half of what leads.
    assert least_shown({"a": scored_run(rising(0.8))}) == pytest.approx(0.9 * 0.8)
    assert drawn({"a": flat(0.9)})["curves"].caption.endswith("beyond the axis is cut off.")


def test_a_curve_begins_where_it_comes_into_sight() -> None:
    found = drawn({"adam": scored_run(group([0.9] * 10, [[0.1, 0.5, 0.9, 0.88, 0.9]] * 10))})[
        "curves"
    ]
    bands, lines, points = (data for _, data in layers(found))
    line = [(row["epoch"], row["score"]) for row in lines if row["split"] == "validation"]
    # The axis begins at 0.85, seven eighths of the way from 0.5 to 0.9.
    assert line == [pytest.approx(p) for p in ((2.875, 0.85), (3, 0.9), (4, 0.88), (5, 0.9))]
    assert [row["low"] for row in bands] == pytest.approx([0.85, 0.85, 0.9, 0.88, 0.9])
    assert min(row["score"] for row in points) > 0.85


def test_the_learning_rates_are_those_of_the_grid_with_the_choice() -> None:
    table = drawn({"sgd": tuned_higher(0.92, 0.88), "lost": lost()})["sensitivity"].table
    assert [row for row in table.rows if row[0] == "sgd"] == [
        ("sgd", "0.01", "0.5000", "0 of 1", "neither"),
        ("sgd", "0.1", "0.8800", "0 of 1", "configured"),
        ("sgd", "1", "0.9200", "0 of 1", "tuned"),
    ]
    assert ("lost", "0.1", "-", "1 of 1", "both") in table.rows


def test_the_speed_is_the_median_epoch_and_how_many_reached_the_target() -> None:
    # The target is the margin below the leader, 0.89; an epoch has five steps.
    leader = group([0.9] * 10, [*[[0.5, 0.9, 0.9]] * 7, *[[0.5, 0.6, 0.9]] * 3])
    other = group([0.9, *[0.7] * 9], [[0.5, 0.5, 0.9], *[[0.7] * 3] * 9])
    speed = drawn({"a": scored_run(leader), "b": scored_run(other), "lost": lost()})["speed"]
    assert rows(speed) == {
        "a": ["2", "10", "10 of 10"],
        "b": ["-", "-", "1 of 10"],
        "lost": ["-", "-", "0 of 10"],
    }
    assert column(speed, "text") == ["10 of 10", "1 of 10", "never"]


def test_the_classes_are_shares_of_the_test_examples() -> None:
    found = results(USUAL)
    figures = draw(found)
    shares = {(c.optimizer, c.actual, c.predicted): c.share for c in found.confusion}
    table = figures["classes"].table
    assert set(table.headers[1:]) == set(found.comparison.dataset.class_names)
    assert rows(figures["classes"]) == {
        optimizer: [f"{shares[optimizer, name, name]:.1%}" for name in table.headers[1:]]
        for optimizer in ("sgd", "adam")
    }
    for actual, predicted, share in figures["confusion"].table.rows:
        assert share == f"{shares['sgd', actual, predicted]:.1%}"


def test_what_is_fitted_is_told_of_the_leader_with_the_furthest_examples() -> None:
    found = of_numbers(USUAL)
    figure = draw(found)["fitted"]
    assert figure.title == "Predicted and true: sgd"
    assert {point.optimizer for point in found.fitted} == {"sgd"}
    assert sorted(column(figure, "tooltip")) != []
    assert len(figure.table.rows) == 10
    # Both outputs are too large by a share of their deviation, of which the first's is larger.
    targets = regression.TEST.targets.astype(np.float64)
    share = np.mean([(1 - row.test_score) ** 0.5 for row in USUAL["sgd"].tuned.completed])
    for true, predicted, low, high in figure.table.rows:
        assert float(predicted) - float(true) == pytest.approx(share * targets[:, 0].std(), 1e-2)
        assert float(low) < float(predicted) < float(high)


LOWER = replace(score_of(COMMITTED.task), sign=-1, keras_name="mean_absolute_error", is_count=False)


def lower_is_better(**scores: float) -> Results:
    """Results whose score is an error; the one that is named first leads."""
    found = of_numbers({name: scored_run(rising(score)) for name, score in scores.items()})
    return replace(found, comparison=replace(found.comparison, score=LOWER))


def test_a_lower_score_that_is_better_lies_on_the_right_of_the_ranking() -> None:
    ranking = draw(lower_is_better(a=0.5, b=0.55))["ranking"]
    scales = [layer["encoding"]["x"].get("scale", {}) for layer, _ in layers(ranking)]
    assert {scale["reverse"] for scale in scales if scale} == {True}


def test_an_error_far_behind_is_told_beyond_the_ranking() -> None:
    found = draw(lower_is_better(a=0.5, b=0.52, c=0.51, far=9.0))["ranking"]
    assert column(found, "text") == ["◄ 9.000"]
    assert max(column(found, "x")) < 1
    assert max(column(found, "x2")) < 1


@pytest.mark.parametrize("case", ["odd_names"], indirect=True)
def test_names_reach_the_tables_as_they_are(case: Case) -> None:
    _, figures = case
    assert set(rows(figures["ranking"])) == set(ODD_NAMES)
    assert set(rows(figures["classes"])) == set(ODD_NAMES)


@pytest.mark.parametrize("first", [0, 1])
@pytest.mark.parametrize("last", [1, 2, 3, 5, 13, 50, 999, 100_000])
def test_ticks_of_whole_numbers_are_few_and_reach_far(first: int, last: int) -> None:
    ticks = whole_ticks(first, last)
    assert 1 <= len(ticks) <= 11
    assert first <= ticks[0]
    assert last * 0.75 <= ticks[-1] <= last


def test_a_long_name_is_broken_where_it_can_be_and_never_cut() -> None:
    name = "sgd_with_warmup_and_a_long_schedule_variant_01"
    lines = name_lines(name)
    assert lines == ["sgd_with_warmup_", "and_a_long_", "schedule_variant_", "01"]
    assert name_lines("x" * 40) == ["x" * 18, "x" * 18, "xxxx"]
    assert name_lines("adam") == ["adam"]
    (axis,) = [
        layer["encoding"]["y"]["axis"]
        for layer, data in layers(drawn({name: flat(0.9), "adam": flat(0.8)})["ranking"])
        if "optimizer" in data[0] and data[0].get("rate") == "tuned" and "seed" in data[0]
    ]
    assert axis["labelLimit"] == 0
    assert json.dumps(lines) in axis["labelExpr"]


def test_of_many_optimizers_charts_begin_with_the_leaders() -> None:
    many = {f"o{i:02}": scored_run(rising(0.9 - i / 100)) for i in range(12)}
    for name in ("ranking", "pairs", "curves", "sensitivity", "speed", "classes"):
        chart = drawn(many)[name].chart
        assert chart is not None
        params = {param["name"]: param["value"] for param in spec(chart, {}, 640)["params"]}
        assert params["shown"] == [f"o{i:02}" for i in range(10)], name


def test_one_against_each_is_the_same_from_both_sides() -> None:
    chart = drawn(USUAL)["pairs"]
    seen = {
        (row["against"], row["optimizer"]): (row["label"], row["difference"], row["shown"])
        for layer, data in layers(chart)
        for row in data
        if "shown" in row
    }
    assert {key: value[:2] for key, value in seen.items()} == {
        ("sgd", "adam"): ("better", "+0.0200"),
        ("adam", "sgd"): ("worse", "-0.0200"),
    }
    assert seen["sgd", "adam"][2] == -seen["adam", "sgd"][2]
    assert chart.table.headers[0] == "sgd against"
    assert rows(chart)["adam"][:3] == ["better", "10", "+0.0200"]


def test_a_difference_far_beyond_the_others_is_marked_at_the_edge() -> None:
    near = {f"o{i}": scored_run(rising(0.9 - i / 1000)) for i in range(4)}
    chart = drawn({**near, "far": scored_run(rising(0.3))})["pairs"]
    found = [
        (row["note"], row["shown"])
        for _, data in layers(chart)
        for row in data
        if (row.get("against"), row.get("optimizer")) == ("o0", "far")
    ]
    assert {note for note, _ in found} == {"better ►"}
    assert {shown for _, shown in found} == {max(column(chart, "x"))}
    assert found[0][1] < 0.1


def test_an_absurd_rate_does_not_stretch_the_axis_of_the_others() -> None:
    usual = {"a": scored_run(rising(0.9)), "b": scored_run(rising(0.88))}
    absurd = scored_run(rising(0.3), tuning={1e6: [0.25], 3e6: [0.3], 1e7: [0.25]})
    figure = drawn({**usual, "absurd": absurd})["sensitivity"]
    assert max(column(figure, "x")) < 10
    assert "marked ◄ or ►" in figure.caption
    assert {row[1] for row in figure.table.rows if row[0] == "absurd"} == {
        "1e+05",
        "3e+05",
        "1e+06",
    }
    assert "►" not in column(drawn(usual)["sensitivity"], "text")


def race_of(*looks: Look) -> Figure:
    found = results({name: scored_run(rising(0.9)) for name in ("a", "b", "c")})
    return draw(replace(found, comparison=replace(found.comparison, looks=looks)))["race"]


def test_the_race_shows_the_bound_and_who_is_in_by_look() -> None:
    figure = race_of(
        Look(10, ("a", "b", "c"), "b", None, ("c",)), Look(15, ("a", "b"), "a", 0.02, ())
    )
    assert column(figure, "text") == ["0.0200"]
    states = {
        (row["optimizer"], row["seeds"]): row["state"]
        for _, data in layers(figure)
        for row in data
        if "state" in row
    }
    assert states == {
        ("a", 10): "in", ("b", 10): "leads", ("c", 10): "out", ("a", 15): "leads", ("b", 15): "in",
    }  # fmt: skip


def test_a_race_of_one_look_is_told_without_a_chart() -> None:
    figure = race_of(Look(10, ("a", "b", "c"), "a", 0.001, ()))
    assert figure.chart is None
    assert figure.caption.startswith("The race ended at its first look, after 10 seeds.")


def test_errors_that_differ_by_orders_of_magnitude_have_a_logarithmic_axis() -> None:
    def kind(score: Score, *values: float) -> str:
        return str(score_scale(score, values).to_dict().get("type", "linear"))

    assert kind(LOWER, 1e-5, 2e-5, 1e-3) == "log"
    assert kind(LOWER, 0.5, 0.6) == "linear"
    assert kind(LOWER, 0.0, 1e-3) == "linear"
    assert kind(score_of(COMMITTED.task), 0.01, 0.9) == "linear"


SEARCHED = {
    "momentum": {"low": 0.0, "high": 0.99, "scale": "one_minus_log"},
    "weight_decay": {"low": 1e-4, "high": 1.0, "scale": "log"},
    "clipnorm": {"low": 1.0, "high": 3.0, "scale": "linear"},
    "nesterov": {"choices": [True, False]},
}


def test_searched_settings_lie_where_their_values_are_in_the_range() -> None:
    found = results(USUAL)
    assert "settings" not in draw(found)
    entry = optimizer(class_name="SGD", search=SEARCHED)
    middle, best = [point for point in found.tuning if point.optimizer == "sgd"][:2]
    tuning = (
        replace(middle, validation_score=0.5, choice="configured", arguments=None),
        replace(
            middle,
            validation_score=0.6,
            choice="neither",
            arguments="clipnorm=2.0; momentum=0.9; nesterov=True; weight_decay=0.01",
        ),
        replace(
            best,
            validation_score=0.7,
            choice="tuned",
            arguments="clipnorm=3.0; momentum=0.0; nesterov=False; weight_decay=0.0001",
        ),
    )
    params = found.params.model_copy(update={"optimizers": {"sgd": entry, "adam": entry}})
    figures = draw(replace(found, params=params, tuning=tuning))
    (every, drawn_rows), (_, chosen) = layers(figures["settings"])
    assert encoded(every)["x"] == ["place"]
    places = {(row["line"], row["value"]): row["place"] for row in drawn_rows}
    assert places == {
        ("sgd: clipnorm", "2.0"): 0.5,
        ("sgd: clipnorm", "3.0"): 1.0,
        ("sgd: momentum", "0.9"): pytest.approx(0.5),
        ("sgd: momentum", "0.0"): 0.0,
        ("sgd: nesterov", "True"): 0.0,
        ("sgd: nesterov", "False"): 1.0,
        ("sgd: weight_decay", "0.01"): pytest.approx(0.5),
        ("sgd: weight_decay", "0.0001"): 0.0,
    }
    assert {row["value"] for row in chosen} == {"3.0", "0.0", "False", "0.0001"}
    listed = [(cells[2], cells[-1]) for cells in figures["settings"].table.rows]
    assert [choice for _, choice in listed] == ["tuned", "neither", "configured"]
    assert listed[2][0] == "as configured"
    # No line leads from one rate to the next, where all else differs as well.
    first, *_ = layers(figures["sensitivity"])
    assert first[0]["mark"]["type"] != "line"
