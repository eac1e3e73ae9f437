"""How many digits of a score are printed."""

import doctest

import pytest

from stages.common import decimals
from stages.common.decimals import rounded_down, rounded_up, score_format
from stages.common.params import Task
from stages.common.score import score_of


def style(name: str, best: float | None, margin: float = 0.01) -> str:
    task = Task(name="regression", loss="auto", score=name, direction="auto")
    return score_format(score_of(task), best, margin)


def test_the_example_holds() -> None:
    results = doctest.testmod(decimals)
    assert (results.attempted, results.failed) == (4, 0)


@pytest.mark.parametrize(
    ("name", "best", "expected"),
    [
        ("accuracy", 0.9774, ".4f"),
        ("accuracy", 1.0, ".4f"),
        ("accuracy", None, ".4f"),
        ("auto", 0.9, ".4f"),
        ("auto", -3.0, ".4f"),
        ("auto", 0.99995, ".7f"),
        ("auto", 1.0, ".4f"),
        ("mean_absolute_error", 0.52, ".3f"),
        ("mean_squared_error", 1.5e-5, ".7f"),
        ("mean_squared_error", 1.5e-9, ".2e"),
        ("mean_squared_error", 25_432.1, ".3f"),
        ("mean_squared_error", 0.0, ".3f"),
        ("mean_squared_error", None, ".3f"),
        ("poisson", -0.02, ".4f"),
    ],
)
def test_small_scores_have_more_decimals(name: str, best: float | None, expected: str) -> None:
    assert style(name, best) == expected


def test_a_large_margin_asks_for_no_decimals_and_a_small_one_for_its_own() -> None:
    assert style("mean_squared_error", 25_432.1, 100.0) == ".0f"
    assert style("mean_squared_error", 25.0, 1e-6) == ".7f"


@pytest.mark.parametrize(
    ("bound", "style", "expected"),
    [
        (0.0021, ".4f", "0.0021"),
        (0.00201, ".4f", "0.0021"),
        (0.1 + 0.2, ".4f", "0.3000"),
        (1.01e-7, ".7f", "0.0000002"),
        (12.1, ".0f", "13"),
        (1.2345e-9, ".2e", "1.24e-9"),
    ],
)
def test_an_upper_bound_is_never_rounded_down(bound: float, style: str, expected: str) -> None:
    assert rounded_up(bound, style) == expected


@pytest.mark.parametrize(
    ("bound", "style", "expected"),
    [
        (0.00099, ".4f", "0.0009"),
        (0.0009, ".4f", "0.0009"),
        (0.00001, ".4f", "0.0000"),
        (1.99e-7, ".7f", "0.0000001"),
        (1.2399e-9, ".2e", "1.23e-9"),
    ],
)
def test_a_lower_bound_is_never_rounded_up(bound: float, style: str, expected: str) -> None:
    assert rounded_down(bound, style) == expected


@pytest.mark.parametrize(
    ("bound", "expected"),
    [(0.0, "0.0000"), (0.002, "0.0020"), (0.002064, "0.0021"), (0.00200001, "0.0021")],
)
def test_a_bound_is_never_said_to_be_smaller_than_it_is(bound: float, expected: str) -> None:
    assert rounded_up(bound) == expected


def test_a_bound_is_not_rounded_up_for_the_last_bits_of_a_sum() -> None:
    assert rounded_up(0.1 + 0.2) == "0.3000"
