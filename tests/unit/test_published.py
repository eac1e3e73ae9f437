"""A published comparison, whose answers are known: DeepOBS, a small network on Fashion-MNIST."""

import csv
from itertools import combinations
from pathlib import Path

import pytest
from scipy.stats import ttest_ind

from stages.evaluate.pairs import Sample, compare_pairs, rank
from stages.evaluate.statistics import estimate
from stages.evaluate.verdict import judge


@pytest.fixture(scope="module")
def samples(shared_data: Path) -> dict[str, Sample]:
    """Final test accuracies over ten seeds."""
    last: dict[str, dict[int, tuple[int, float]]] = {}
    with (shared_data / "deepobs" / "fmnist_2c2d.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            seen = last.setdefault(row["optimizer"], {}).get(int(row["seed"]), (-1, 0.0))
            now = int(row["epoch"]), float(row["test_accuracy"])
            last[row["optimizer"]][int(row["seed"])] = max(seen, now)
    return {
        name: Sample({seed: accuracy for seed, (_, accuracy) in finals.items()}, 0)
        for name, finals in last.items()
    }


@pytest.mark.parametrize(
    ("name", "mean", "spread"),
    [("adam", 0.9234, 0.0029), ("sgd", 0.9227, 0.0018), ("momentum", 0.9214, 0.0021)],
)
def test_means_and_spreads_are_the_published_ones(
    samples: dict[str, Sample], name: str, mean: float, spread: float
) -> None:
    found = estimate(list(samples[name].accuracies.values()), 0.95)
    assert len(samples[name].accuracies) == 10
    assert (found.mean, found.standard_deviation) == pytest.approx((mean, spread), abs=5e-5)


def test_welch_finds_what_was_published(samples: dict[str, Sample]) -> None:
    published = {("adam", "sgd"): 0.54, ("adam", "momentum"): 0.10, ("momentum", "sgd"): 0.17}
    for pair in combinations(sorted(samples), 2):
        first, second = (list(samples[name].accuracies.values()) for name in pair)
        p = ttest_ind(first, second, equal_var=False).pvalue
        assert p == pytest.approx(published[pair], abs=5e-3)


def without_seed_42(samples: dict[str, Sample]) -> dict[str, Sample]:
    return {
        name: Sample({seed: a for seed, a in sample.accuracies.items() if seed != 42}, 0)
        for name, sample in samples.items()
    }


def test_one_seed_turns_the_order_round_and_the_verdict_stays_undecided(
    samples: dict[str, Sample],
) -> None:
    rankings = []
    for some in (samples, without_seed_42(samples)):
        pairs = compare_pairs(some, confidence=0.95, margin=0.002, n_test=10_000)
        assert "better" not in {pair.label for pair in pairs}
        verdict = judge(some, pairs, some, pairs, 0.002)
        assert verdict.best is None
        assert verdict.sentence.startswith("Undecided: ")
        rankings.append(rank(some))
    assert rankings == [("adam", "sgd", "momentum"), ("sgd", "adam", "momentum")]
