"""The comparison in words: a Markdown page and a terminal of 80 columns."""

import re
from collections.abc import Mapping

import pytest

from stages.common.results import Comparison
from stages.evaluate.comparison import compare
from stages.evaluate.scored import ScoredRun
from stages.report.summary import describe, summarise
from tests.examples import DATASET, group, optimizer, scored_run, small_params

RISING = [0.5, 0.7, 0.8, 0.9]


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
    params = small_params({name: optimizer(class_name="SGD") for name in outcomes})
    return compare(params, DATASET, outcomes)


def page(outcomes: Mapping[str, ScoredRun]) -> str:
    params = small_params({name: optimizer(class_name="SGD") for name in outcomes})
    return summarise(compared(outcomes), params, {})


def table(markdown: str, first_column: str = "optimizer", index: int = 0) -> list[list[str]]:
    """The cells of the index-th table whose header begins so."""
    tables = re.findall(rf"^\| {first_column} .*\n\|[-|]+\|\n((?:\|.*\n)+)", markdown, re.MULTILINE)
    rows = tables[index].splitlines()
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]


def test_the_page_has_a_row_for_every_optimizer_best_first() -> None:
    assert table(page(OUTCOMES)) == [
        ["sgd", "0.9100", "0.9025-0.9175", "1", "0.8100", "0 of 10"],
        ["adam", "0.8011", "0.7930-0.8092", "0.1", "0.8011", "1 of 10"],
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
    name, label, difference, interval, p_adjusted, improves, images, seeds = rows[0]
    assert (name, label, improves, seeds) == ("sgd - adam", "better", "1.00", "-")
    assert re.fullmatch(r"\+0\.\d{4}", difference)
    assert re.fullmatch(r"\+0\.\d{4} to \+0\.\d{4}", interval)
    assert float(p_adjusted) < 0.05
    assert re.fullmatch(r"0\.\d{4}", images)
    assert rows[2] == ["sgd - lost", "better", "-", "-", "1.1e-05", "1.00", "-", "-"]


def test_the_page_has_the_other_criteria_of_every_optimizer() -> None:
    rows = table(page(OUTCOMES), index=1)
    assert rows[0] == [
        "sgd", "4", "20", "10 of 10", "1", "0%", "2", "0.9000", "0.9000",
    ]  # fmt: skip
    assert rows[3] == [
        "lost", "-", "-", "0 of 10", "-", "100%", "0", "-", "-",
    ]  # fmt: skip


def test_good_rates_are_a_range_where_there_are_several() -> None:
    plateau = scored_run(group([0.9]), tuning={0.1: [0.5], 1.0: [0.9], 10.0: [0.9]})
    assert table(page({"sgd": plateau}), index=1)[0][4] == "0.1 to 1"


def test_the_page_says_the_verdict_and_what_was_compared() -> None:
    markdown, comparison = page(OUTCOMES), compared(OUTCOMES)
    assert comparison.verdict in markdown
    assert comparison.budget in markdown
    settings = (
        "shapes; 75 images",
        "hidden_units [8]",
        "100 parameters",
        "- tuning: learning_rate_factors [1.0], seeds [91]",
        "- confirmation: seeds [1, 2]",
        "- comparison: confidence 0.95, margin 0.002",
    )
    target = "a validation accuracy of 0.8900"
    words = (*settings, target, "keras 3.15.1")
    assert [each for each in words if each not in markdown] == []
    for name in OUTCOMES:
        assert f"optimizer {name}: class_name SGD, learning_rate 0.1" in markdown


def test_the_page_has_a_warning_for_each_fault_and_no_heading_without() -> None:
    markdown, warnings = page(OUTCOMES), compared(OUTCOMES).warnings
    assert {finding.check for finding in warnings} >= {"failures", "edge_of_grid"}
    for finding in warnings:
        assert f"\n- {finding.problem} {finding.advice}\n" in markdown
    sound = {"a": scored(0.9), "b": scored(0.8)}
    assert "## Warnings" not in page(sound)
    assert "## Pairs" in page(sound)


def test_one_optimizer_leaves_no_pairs() -> None:
    assert "## Pairs" not in page({"alone": scored(0.9)})


@pytest.mark.parametrize("outcomes", [OUTCOMES, LOST, {"lonely": OUTCOMES["lonely"]}])
def test_no_python_shows_through(outcomes: dict[str, ScoredRun]) -> None:
    texts = page(outcomes) + describe(compared(outcomes))
    assert re.findall(r"\b(?:nan|None|inf|True|False)\b", texts) == []


def seeds_sentence(comparison: Comparison) -> list[str]:
    """What the terminal says of the leader's open pair that needs the most seeds."""
    leader, *_ = comparison.optimizers
    needed = [
        (pair.n_seeds_needed, pair.second)
        for pair in comparison.pairs
        if (pair.first, pair.label) == (leader, "undecided") and pair.n_seeds_needed
    ]
    return [
        f"If the true difference is the measured one, about {n:,} seeds would show that {leader} "
        f"beats {second} on these test images; report/summary.md has all pairs."
        for n, second in sorted(needed)[-1:]
    ]


def test_the_terminal_says_how_many_seeds_would_decide() -> None:
    comparison = compared({"a": scored(0.9), "b": scored(0.899), "c": scored(0.8)})
    (needed,) = [p.n_seeds_needed for p in comparison.pairs if (p.first, p.second) == ("a", "b")]
    assert needed is not None
    words = f"about {needed:,} seeds would show that a beats b"
    assert words in " ".join(describe(comparison).split())
    decided = compared({"a": scored(0.9), "c": scored(0.8)})
    assert "seeds would" not in " ".join(describe(decided).split())


@pytest.mark.parametrize(
    "outcomes",
    [
        [scored(0.9), scored(0.8)],
        [scored(0.9), scored(0.899), scored(0.898), scored(0.897)],
        [scored(0.8), scored(0.9, n_failed=1)],
        [OUTCOMES["lost"], OUTCOMES["lost"]],
        [OUTCOMES["sgd"], *[scored_run(group([0.3]), tuning={1.0: [0.5], 3.0: [0.4]})] * 4],
    ],
    ids=["clear", "overlapping", "diverging", "diverged", "warned"],
)
def test_the_terminals_80_columns_hold_names_of_16_characters(outcomes: list[ScoredRun]) -> None:
    named = {f"{index:0>16}": one for index, one in enumerate(outcomes)}
    comparison, text = compared(named), describe(compared(named))
    paragraphs = [" ".join(paragraph.split()) for paragraph in text.strip().split("\n\n")]
    assert paragraphs[2:] == [
        comparison.verdict,
        *seeds_sentence(comparison),
        *([comparison.budget] if comparison.budget else []),
        *(f"! {finding.problem} {finding.advice}" for finding in comparison.warnings),
    ]
    assert [line for line in text.splitlines() if len(line) > 80] == []
