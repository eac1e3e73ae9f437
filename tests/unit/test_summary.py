"""The comparison in words: a Markdown page and a terminal of 80 columns."""

import re
from collections.abc import Mapping
from dataclasses import replace

import pytest

from stages.common.results import Comparison, Look, Pair
from stages.evaluate.comparison import compare
from stages.evaluate.scored import ScoredRun
from stages.report import tables
from stages.report.summary import describe, summarise
from tests.examples import DATASET, group, scored_run
from tests.parameters import optimizer, small_params

RISING = [0.5, 0.7, 0.8, 0.9]
# The margin is an example of the 60, so that no check complains of it.
MARGIN = {"margin": 0.02}


def scored(accuracy: float, n: int = 10, n_failed: int = 0) -> ScoredRun:
    """Trials a hundredth below and above the accuracy in turn."""
    accuracies = [accuracy + 0.01 * (-1) ** i for i in range(n)]
    return scored_run(group(accuracies, n_failed=n_failed))


OUTCOMES = {
    "lost": scored_run(group([], n_failed=10, setting=0), tuning={1.0: [None], 10.0: [None]}),
    "lonely": scored_run(group([0.7], n_failed=9)),
    "adam": scored(0.8, 9, n_failed=1),
    "sgd": scored_run(
        group([0.9, 0.92] * 5, [RISING] * 10, setting=2),
        group([0.8, 0.82] * 5),
        tuning={0.1: [0.5], 1.0: [0.8], 10.0: [0.9]},
        n_state=200,
    ),
}
LOST = {"lost": OUTCOMES["lost"]}


def compared(outcomes: Mapping[str, ScoredRun]) -> Comparison:
    entries = {name: optimizer(class_name="SGD") for name in outcomes}
    at_most = max(len(run.tuned.rows) for run in outcomes.values())
    params = small_params(entries, comparison=MARGIN, confirmation={"at_most": at_most})
    return compare(params, DATASET, outcomes)


def page(outcomes: Mapping[str, ScoredRun]) -> str:
    entries = {name: optimizer(class_name="SGD") for name in outcomes}
    return summarise(compared(outcomes), small_params(entries, comparison=MARGIN), {})


def table(markdown: str, first_column: str = "optimizer", index: int = 0) -> list[list[str]]:
    """The cells of the index-th table whose header begins so."""
    tables = re.findall(rf"^\| {first_column} .*\n\|[-|]+\|\n((?:\|.*\n)+)", markdown, re.MULTILINE)
    rows = tables[index].splitlines()
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]


def test_the_page_has_a_row_for_every_optimizer_best_first() -> None:
    assert table(page(OUTCOMES)) == [
        ["sgd", "0.9100", "0.8981-0.9219", "1", "0.8100", "0 of 10"],
        ["adam", "0.8011", "0.7883-0.8139", "0.1", "0.8011", "1 of 10"],
        ["lonely", "0.7000", "-", "0.1", "0.7000", "9 of 10"],
        ["lost", "-", "-", "0.1", "-", "10 of 10"],
    ]


def test_the_page_has_a_row_for_every_pair() -> None:
    rows = table(page(OUTCOMES), "pair")
    assert [row[0] for row in rows] == [
        "sgd - adam",
        "sgd - lonely",
        "sgd - lost",
        "adam - lonely",
        "adam - lost",
        "lonely - lost",
    ]
    name, label, seeds, difference, interval, p, level, improves, examples = rows[0]
    assert (name, label, seeds, improves) == ("sgd - adam", "better", "10", "1.00")
    assert re.fullmatch(r"\+0\.\d{4}", difference)
    assert re.fullmatch(r"\+0\.\d{4} to \+0\.\d{4}", interval)
    assert float(p) <= float(level) < 0.05
    assert re.fullmatch(r"0\.\d{4}", examples)
    assert rows[2] == ["sgd - lost", "better", "10", "-", "-", "0.002", "0.005", "1.00", "-"]


LOOKS = (
    Look(10, ("sgd", "adam", "lost"), "adam", None, ("lost",)),
    Look(15, ("sgd", "adam"), "sgd", 0.00101, ()),
)


def test_the_race_is_told_look_by_look_with_bounds_that_are_rounded_up() -> None:
    found = tables.race(replace(compared(OUTCOMES), looks=LOOKS))
    assert found.headers == ("seeds", "leader", "bound", "still in", "out")
    assert found.rows == [
        ("10", "adam", "-", "2", "lost"),
        ("15", "sgd", "0.0011", "2", "-"),
    ]


def test_the_page_has_a_row_for_every_look() -> None:
    assert table(page(OUTCOMES), "seeds") == [["10", "sgd", "0.0000", "1", "lost, lonely, adam"]]


@pytest.mark.parametrize(
    ("label", "high", "said"),
    [
        ("better", 0.002, "better, by less than matters"),
        ("better", 0.0021, "better"),
        ("better", None, "better"),
        ("tied", 0.001, "tied"),
        ("undecided", 0.001, "undecided"),
    ],
)
def test_a_better_one_whose_lead_lies_within_the_margin_is_called_so(
    label: str, high: float | None, said: str
) -> None:
    pair = Pair("sgd", "adam", label, 10, 0.001, high and 0.0001, high, 0.001, 0.005, 0.9, 0.01)  # type: ignore[arg-type]
    comparison = replace(compared(OUTCOMES), pairs=(pair,), margin=0.002)
    assert dict(zip(*_first_row(comparison), strict=True))["label"] == said


def _first_row(comparison: Comparison) -> tuple[tuple[str, ...], tuple[str, ...]]:
    found = tables.pairs(comparison)
    return tuple(found.headers), tuple(found.rows[0])


def test_the_page_has_the_other_criteria_of_every_optimizer() -> None:
    rows = table(page(OUTCOMES), index=1)
    assert rows[0] == [
        "sgd", "4", "20", "10 of 10", "1", "0%", "2", "0.9000", "0.9000",
    ]  # fmt: skip
    assert rows[3] == [
        "lost", "-", "-", "0 of 10", "-", "100%", "0", "-", "-",
    ]  # fmt: skip


def test_good_rates_are_a_range_where_there_are_several() -> None:
    plateau = scored_run(group([0.9] * 10), tuning={0.1: [0.5], 1.0: [0.9], 10.0: [0.9]})
    assert table(page({"sgd": plateau}), index=1)[0][4] == "0.1 to 1"


def test_the_page_says_the_verdict_and_what_was_compared() -> None:
    markdown, comparison = page(OUTCOMES), compared(OUTCOMES)
    assert f"\n**{comparison.verdict}**\n" in markdown
    assert comparison.details != ()
    assert "\n\n" + "".join(f"- {line}\n" for line in comparison.details) + "\n" in markdown
    settings = (
        "shapes; 75 examples",
        "hidden_units [8]",
        "100 parameters",
        "- tuning: learning_rate_factors [1.0], n_settings 1, seeds [1], final_seeds []",
        "- confirmation: first_seed 100, at_most 10",
        "- comparison: confidence 0.95, margin 0.02",
    )
    target = "a validation accuracy of 0.8800"
    words = (*settings, target, "keras 3.15.1")
    assert [each for each in words if each not in markdown] == []
    for name in OUTCOMES:
        assert f"optimizer {name}: class_name SGD, learning_rate 0.1" in markdown


def test_the_page_has_a_warning_for_each_fault_and_no_heading_without() -> None:
    markdown, warnings = page(OUTCOMES), compared(OUTCOMES).warnings
    assert {finding.check for finding in warnings} >= {"failures", "edge_of_grid"}
    for warning in tables.warnings(compared(OUTCOMES)):
        assert f"\n- {warning}\n" in markdown
    sound = {"a": scored(0.9), "b": scored(0.8)}
    assert "## Warnings" not in page(sound)
    assert "## Pairs" in page(sound)


def test_one_optimizer_leaves_no_pairs() -> None:
    assert "## Pairs" not in page({"alone": scored(0.9)})


@pytest.mark.parametrize("outcomes", [OUTCOMES, LOST, {"lonely": OUTCOMES["lonely"]}])
def test_no_python_shows_through(outcomes: dict[str, ScoredRun]) -> None:
    texts = page(outcomes) + describe(compared(outcomes))
    assert re.findall(r"\b(?:nan|None|inf|True|False)\b", texts) == []


def many(n: int) -> dict[str, ScoredRun]:
    """Names of 16 characters; close to one another, but for the last, which diverged at once."""
    runs = [scored(0.9 - 0.001 * index) for index in range(n - 1)]
    return {f"{index:0>16}": run for index, run in enumerate([*runs, OUTCOMES["lost"]])}


@pytest.mark.parametrize(
    "outcomes",
    [
        many(2),
        many(5),
        many(10),
        many(25),
        {"a" * 16: scored(0.9), "b" * 16: scored(0.8)},
        {"a" * 16: scored(0.8), "b" * 16: scored(0.9, 9, n_failed=1)},
        {"a" * 16: OUTCOMES["lost"], "b" * 16: OUTCOMES["lost"]},
        {"a" * 16: scored(0.9, 160), "b" * 16: scored(0.9, 160)},
    ],
    ids=["two", "five", "ten", "25", "clear", "failing", "all-diverged", "many-seeds"],
)
def test_the_terminals_80_columns_hold_names_of_16_characters(
    outcomes: dict[str, ScoredRun],
) -> None:
    comparison, text = compared(outcomes), describe(compared(outcomes))
    assert [line for line in text.splitlines() if len(line) > 80] == []
    words = " ".join(text.split())
    for told in (
        comparison.verdict,
        *(f"- {line}" for line in comparison.details),
        *(f"! {warning}" for warning in tables.warnings(comparison)),
    ):
        assert told in words


def test_the_terminal_tells_the_table_then_the_answer_then_its_lines_then_the_warnings() -> None:
    comparison, text = compared(OUTCOMES), describe(compared(OUTCOMES))
    paragraphs = [" ".join(paragraph.split()) for paragraph in text.strip().split("\n\n")]
    assert paragraphs[2:] == [
        comparison.verdict,
        " ".join(f"- {line}" for line in comparison.details),
        *(f"! {warning}" for warning in tables.warnings(comparison)),
    ]
