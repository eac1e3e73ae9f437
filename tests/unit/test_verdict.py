"""What is said of optimizers whose intervals lie so or so."""

import pytest

from stages.common.artifacts import Standing
from stages.evaluate.verdict import judge
from tests.examples import standing

DIVERGED = standing(None, n_diverged=10)


@pytest.mark.parametrize(
    ("standings", "best", "verdict"),
    [
        (
            {"a": standing(0.8), "b": standing(0.9)},
            "b",
            "Best is b: its 95 % interval lies above those of the others",
        ),
        (
            {"a": standing(0.91), "b": standing(0.9), "c": standing(0.895), "d": standing(0.5)},
            "a",
            "Undecided: a leads, but b and c may be as good",
        ),
        ({"a": standing(0.9)}, "a", "Only a was trained"),
        (
            {"a": standing(0.8, None), "b": standing(0.9, None)},
            "b",
            "Undecided: b leads, but one trial gives no interval",
        ),
        ({"a": DIVERGED, "b": DIVERGED}, None, "Undecided: every trial diverged"),
        ({"a": DIVERGED}, None, "Undecided: every trial diverged"),
        (
            {"a": DIVERGED, "b": standing(0.1, 0.2)},
            "b",
            "Best is b: its 95 % interval lies above those of the others",
        ),
        (
            {"a": standing(0.9, n_diverged=1), "b": standing(0.8), "c": standing(0.5)},
            "b",
            "Undecided: b leads, but a may be as good",
        ),
        (
            {"a": standing(0.9, None, n_diverged=9), "b": standing(0.8)},
            "b",
            "Undecided: b leads, but a may be as good",
        ),
        (
            {"a": standing(0.9, n_diverged=1), "b": standing(0.9, n_diverged=1)},
            "a",
            "Undecided: a leads, but b may be as good",
        ),
    ],
    ids=[
        "clear",
        "overlapping",
        "alone",
        "one seed",
        "all diverged",
        "alone and diverged",
        "one left",
        "diverging above",
        "hardly completed above",
        "all diverge at times",
    ],
)
def test_the_verdict_names_a_best_only_where_the_numbers_do(
    standings: dict[str, Standing], best: str | None, verdict: str
) -> None:
    judgement = judge(standings, 0.95)
    assert (judgement.best, judgement.verdict) == (best, verdict)


def test_whoever_diverges_less_comes_first_then_whoever_is_more_accurate() -> None:
    standings = {
        "diverged": DIVERGED,
        "once": standing(0.99, n_diverged=1),
        "low": standing(0.5),
        "high": standing(0.6),
        "twice": standing(0.99, n_diverged=2),
    }
    assert judge(standings, 0.95).ranking == ("high", "low", "once", "twice", "diverged")
