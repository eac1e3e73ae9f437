"""The comparison in words: a Markdown page and a terminal of 80 columns."""

import re

import pytest

from stages.common.artifacts import Comparison, Standing
from stages.evaluate.verdict import judge
from stages.report.summary import describe, summarise
from tests.examples import DATASET, optimizer, small_params, standing

STANDINGS = {
    "sgd": standing(0.9),
    "adam": standing(0.8, n_diverged=1),
    "lonely": standing(0.7, None, n_diverged=9),
    "lost": standing(None, n_diverged=10),
}


def comparison(standings: dict[str, Standing]) -> Comparison:
    judgement = judge(standings, 0.95)
    return Comparison(
        dataset=DATASET,
        n_parameters=79_510,
        confidence=0.95,
        best=judgement.best,
        verdict=judgement.verdict,
        versions={"keras": "3.12.4"},
        optimizers={name: standings[name] for name in judgement.ranking},
    )


def page(standings: dict[str, Standing]) -> str:
    optimizers = {name: optimizer(class_name="SGD") for name in standings}
    return summarise(comparison(standings), small_params(optimizers))


def table(markdown: str) -> list[list[str]]:
    rows = [line for line in markdown.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows[2:]]


def test_the_page_has_a_row_for_every_optimizer_best_first() -> None:
    assert table(page(STANDINGS)) == [
        ["sgd", "0.9000", "0.8900-0.9100", "0.001", "0.9000", "0 of 10"],
        ["adam", "0.8000", "0.7900-0.8100", "0.001", "0.8000", "1 of 10"],
        ["lonely", "0.7000", "-", "0.001", "0.7000", "9 of 10"],
        ["lost", "-", "-", "0.001", "-", "10 of 10"],
    ]


def test_the_page_says_the_verdict_and_what_was_compared() -> None:
    markdown = page(STANDINGS)
    assert comparison(STANDINGS).verdict in markdown
    settings = ("shapes; 75 images", "hidden_units [8]", "79,510 parameters", "seeds: 1, 2")
    assert [words for words in (*settings, "keras 3.12.4") if words not in markdown] == []
    for name in STANDINGS:
        assert f"optimizer {name}: class_name SGD, learning_rate 0.1" in markdown


@pytest.mark.parametrize("standings", [STANDINGS, {"lost": STANDINGS["lost"]}])
def test_no_python_shows_through(standings: dict[str, Standing]) -> None:
    texts = page(standings) + describe(comparison(standings))
    assert re.findall(r"\b(?:nan|None|inf|True|False)\b", texts) == []


@pytest.mark.parametrize(
    "standings",
    [
        [standing(0.9), standing(0.8)],
        [standing(0.9), standing(0.89), standing(0.89), standing(0.89)],
        [standing(0.8), standing(0.9, n_diverged=1)],
        [standing(None, n_diverged=10)],
    ],
    ids=["clear", "overlapping", "diverging", "diverged"],
)
def test_the_terminals_80_columns_hold_names_of_16_characters(standings: list[Standing]) -> None:
    named = {f"{index:0>16}": one for index, one in enumerate(standings)}
    text = describe(comparison(named))
    assert " ".join(text.split()).endswith(f"{comparison(named).verdict}.")
    assert [line for line in text.splitlines() if len(line) > 80] == []
