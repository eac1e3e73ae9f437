"""Which of two optimizers is better, tied or undecided."""

from collections.abc import Mapping

import numpy as np
import pytest

from stages.common.results import Pair
from stages.evaluate.pairs import Sample, compare_pairs, rank

# Ten seeds' ups and downs, of mean zero.
NOISE = np.array([3, -1, 2, -2, 1, -3, 2, -2, 1, -1]) * 1e-3
N_TEST = 10_000


def sample(mean: float, noise: float = 1.0, *, n_failed: int = 0, shift: int = 0) -> Sample:
    """Ten seeds, of which the last n_failed have no score."""
    accuracies = mean + noise * np.roll(NOISE, shift)
    kept = len(accuracies) - n_failed
    return Sample(dict(enumerate(accuracies[:kept].tolist())), n_failed)


def compare(samples: Mapping[str, Sample], margin: float = 0.002) -> dict[tuple[str, str], Pair]:
    pairs = compare_pairs(samples, confidence=0.95, margin=margin, n_test=N_TEST)
    return {(pair.first, pair.second): pair for pair in pairs}


@pytest.mark.parametrize(
    ("first", "second", "label"),
    [
        (sample(0.9), sample(0.88, shift=1), "better"),
        (sample(0.9, 0.1), sample(0.8999, 0.1, shift=1), "tied"),
        (sample(0.9), sample(0.899, shift=1), "undecided"),
        # A mean over survivors is no reason to call an optimizer better, or as good.
        (sample(0.9, n_failed=1), sample(0.8, shift=1, n_failed=2), "undecided"),
        (sample(0.9, 0.1), sample(0.9, 0.1, shift=1, n_failed=1), "undecided"),
        (sample(0.9), sample(0.8, shift=1, n_failed=1), "better"),
        (sample(0.9), sample(0.8, n_failed=9), "undecided"),
        (sample(0.9), sample(0.8, n_failed=10), "better"),
        (sample(0.9, n_failed=1), sample(0.8, n_failed=10), "undecided"),
        # Three against three that all failed may be chance: Fisher's p is 0.1.
        (Sample({1: 0.9, 2: 0.9, 3: 0.9}, 0), Sample({}, 3), "undecided"),
        (sample(0.9, n_failed=10), sample(0.8, n_failed=10), "undecided"),
        (Sample({1: 0.9}, 0), Sample({1: 0.5}, 0), "undecided"),
        (Sample({1: 0.9, 2: 0.9}, 0), Sample({3: 0.5, 4: 0.5}, 0), "undecided"),
    ],
)
def test_a_pair_has_the_label_that_its_trials_deserve(
    first: Sample, second: Sample, label: str
) -> None:
    assert compare({"a": first, "b": second})["a", "b"].label == label


def test_the_margin_decides_what_a_tie_is() -> None:
    samples = {"a": sample(0.9), "b": sample(0.899, shift=1)}
    assert compare(samples, margin=0.01)["a", "b"].label == "tied"


def test_pairing_takes_out_what_the_seeds_share() -> None:
    together = {"a": sample(0.9), "b": sample(0.899)}
    assert compare(together)["a", "b"].label == "better"
    assert compare(together | {"b": sample(0.899, shift=1)})["a", "b"].label == "undecided"


def test_more_pairs_ask_for_a_smaller_p() -> None:
    samples = {"a": sample(0.9), "b": sample(0.8965, shift=1)}
    alone = compare(samples)["a", "b"]
    others = {name: sample(0.9, shift=shift) for name, shift in (("c", 2), ("d", 3), ("e", 4))}
    among = compare(samples | others)["a", "b"]
    assert (alone.label, among.label) == ("better", "undecided")
    assert (alone.p, alone.n_seeds_needed) == (among.p, None)
    assert among.n_seeds_needed is not None
    assert among.n_seeds_needed > 10


def test_no_seeds_are_promised_where_none_can_decide() -> None:
    behind = {"a": Sample({1: 0.8, 2: 0.81, 3: 0.8}, 0), "b": Sample({1: 0.9, 2: 0.91}, 1)}
    failing = {"a": sample(0.9, n_failed=1), "b": sample(0.5, shift=1, n_failed=1)}
    for samples in (behind, failing):
        pair = compare(samples)["a", "b"]
        assert (pair.label, pair.n_seeds_needed) == ("undecided", None)


def test_seeds_are_matched_and_not_positions() -> None:
    forward = {"a": sample(0.9), "b": sample(0.899)}
    reverse = dict(reversed(forward["b"].accuracies.items()))
    assert compare(forward | {"b": Sample(reverse, 0)}) == compare(forward)


def test_test_images_are_told_apart_from_seeds() -> None:
    right, half = np.ones(400), np.tile([0.0, 1.0], 200)
    samples = {
        "a": Sample({1: 1.0, 2: 1.0}, 0, right),
        "b": Sample({1: 0.5, 2: 0.5}, 0, half),
        "c": Sample({}, 2, None),
    }
    pairs = compare(samples)
    assert pairs["a", "b"].test_set_half_width == pytest.approx(0.049, abs=0.001)
    assert pairs["a", "c"].test_set_half_width is None


def test_whoever_fails_less_ranks_first_then_whoever_is_more_accurate() -> None:
    samples = {
        "always": sample(0.99, n_failed=10),
        "once": sample(0.99, n_failed=1),
        "low": sample(0.5),
        "high": sample(0.6),
        "twice": sample(0.99, n_failed=2),
    }
    assert rank(samples) == ("high", "low", "once", "twice", "always")


@pytest.mark.parametrize("n_seeds", [3, 5, 10])
def test_with_no_true_difference_better_is_said_in_one_of_twenty_experiments_at_most(
    n_seeds: int,
) -> None:
    generator = np.random.default_rng(n_seeds)
    n_experiments, n_alarms = 2000, 0
    for _ in range(n_experiments):
        seeds = generator.normal(0.9, 0.003, n_seeds)
        samples = {
            name: Sample(dict(enumerate((seeds + generator.normal(0, 0.003, n_seeds)).tolist())), 0)
            for name in "abcde"
        }
        n_alarms += any(pair.label == "better" for pair in compare(samples).values())
    # Two standard errors above 5 %.
    assert n_alarms <= (0.05 + 2 * (0.05 * 0.95 / n_experiments) ** 0.5) * n_experiments


def test_with_plenty_of_seeds_a_true_tie_is_called_one() -> None:
    generator = np.random.default_rng(0)
    labels = [
        compare(
            {name: Sample(dict(enumerate(generator.normal(0.9, 0.003, 200))), 0) for name in "ab"}
        )
        for _ in range(50)
    ]
    assert sum(pair.label == "tied" for pairs in labels for pair in pairs.values()) >= 45
