"""A published comparison, whose answers are known: DeepOBS, a small network on Fashion-MNIST."""

import csv
from pathlib import Path

import numpy as np
import pytest

from stages.common.files import FloatArray
from stages.inference.estimates import estimate
from stages.inference.pairs import compare_pairs
from stages.inference.race import Rules, run_race

N_TEST = 10_000


def rules(margin: float, confidence: float = 0.95) -> Rules:
    return Rules(margin, confidence, 1 / N_TEST, at_most=160)


@pytest.fixture(scope="module")
def scores(shared_data: Path) -> dict[str, FloatArray]:
    """Final test accuracies over ten seeds, the first of which is 42."""
    last: dict[str, dict[int, tuple[int, float]]] = {}
    with (shared_data / "deepobs" / "fmnist_2c2d.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            seen = last.setdefault(row["optimizer"], {}).get(int(row["seed"]), (-1, 0.0))
            now = int(row["epoch"]), float(row["test_accuracy"])
            last[row["optimizer"]][int(row["seed"])] = max(seen, now)
    return {
        name: np.array([accuracy for _, (_, accuracy) in sorted(finals.items())])
        for name, finals in last.items()
    }


@pytest.mark.parametrize(
    ("name", "mean", "spread"),
    [("adam", 0.9234, 0.0029), ("sgd", 0.9227, 0.0018), ("momentum", 0.9214, 0.0021)],
)
def test_means_and_spreads_are_the_published_ones(
    scores: dict[str, FloatArray], name: str, mean: float, spread: float
) -> None:
    found = estimate(scores[name].tolist(), 0.95, resolution=1 / N_TEST)
    assert len(scores[name]) == 10
    assert (found.mean, found.standard_deviation) == pytest.approx((mean, spread), abs=5e-5)


def test_ten_seeds_show_none_of_them_to_be_better(scores: dict[str, FloatArray]) -> None:
    found = {
        (pair.first, pair.second): (pair.label, round(pair.p, 4), round(pair.nominal, 6))
        for pair in compare_pairs(scores, rules(0.002))
    }
    # Half of 5 % may be spent at the first look, on three pairs.
    assert found == {
        ("adam", "momentum"): ("undecided", 0.0449, 0.008333),
        ("adam", "sgd"): ("undecided", 0.5175, 0.008333),
        ("sgd", "momentum"): ("undecided", 0.1054, 0.008333),
    }


def test_a_tie_is_what_ten_seeds_show_only_where_half_a_percent_makes_no_difference(
    scores: dict[str, FloatArray],
) -> None:
    labels = [
        {pair.label for pair in compare_pairs(scores, rules(margin))} for margin in (0.003, 0.005)
    ]
    assert labels == [{"undecided"}, {"tied"}]


def test_what_may_be_lost_by_each_choice_is_known_after_ten_seeds(
    scores: dict[str, FloatArray],
) -> None:
    race = run_race(scores, rules(0.003))
    at_most = {
        name: max(-race.ahead[name, rival] for rival in scores if rival != name) for name in scores
    }
    assert at_most == pytest.approx({"adam": 0.0021, "sgd": 0.0034, "momentum": 0.0042}, abs=5e-5)
    (look,) = race.looks
    assert (look.leader, look.n_seeds, look.beaten) == ("adam", 10, ())
    assert look.bound == at_most["adam"] == pytest.approx(0.002064, abs=5e-7)


@pytest.mark.parametrize(("margin", "is_over", "n_seeds"), [(0.0021, True, 10), (0.002, False, 15)])
def test_adam_can_be_taken_where_a_fifth_of_a_percent_makes_no_difference(
    scores: dict[str, FloatArray], margin: float, is_over: bool, n_seeds: int
) -> None:
    race = run_race(scores, rules(margin))
    assert (race.looks[-1].leader, race.is_over, race.next_n_seeds) == ("adam", is_over, n_seeds)
