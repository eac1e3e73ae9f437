"""Which of two optimizers is better, tied or undecided, at every look and over all of them."""

from collections.abc import Iterator, Mapping
from itertools import combinations
from math import nan

import numpy as np
import pytest

from stages.common.files import FloatArray
from stages.common.results import PairTest
from stages.inference.looks import looks, nominal_level
from stages.inference.pairs import compare_pairs
from stages.inference.race import Rules, Scores
from tests.conftest import mainly

# Ten seeds' ups and downs, of mean zero.
NOISE = np.array([3, -1, 2, -2, 1, -3, 2, -2, 1, -1]) * 1e-3
N_IMAGES = 359
KINDS = ("normal", "skewed", "discrete", "failing")


def ten(mean: float, noise: float = 1.0, *, n_failed: int = 0, shift: int = 0) -> FloatArray:
    """Ten seeds, of which the last n_failed have no score."""
    scores = mean + noise * np.roll(NOISE, shift)
    scores[len(scores) - n_failed :] = nan
    return scores


def rules(margin: float = 0.002, at_most: int = 10, resolution: float = 1e-4) -> Rules:
    return Rules(margin, 0.95, resolution, at_most)


def compare(scores: Scores, judged_by: Rules | None = None) -> dict[frozenset[str], PairTest]:
    results = compare_pairs(scores, judged_by or rules())
    return {frozenset((pair.first, pair.second)): pair for pair in results}


def draw(
    kind: str, n_experiments: int, means: tuple[float, ...], n_seeds: int
) -> Iterator[tuple[dict[str, FloatArray], float]]:
    """Scores of optimizers named by their index, means in standard deviations; the resolution."""
    generator = np.random.default_rng(len(means))
    shape = (n_experiments, len(means), n_seeds)
    scores, resolution = generator.normal(0, 1, shape), 1e-9
    if kind == "skewed":
        scores = generator.exponential(1, shape)
    scores += np.array(means)[:, np.newaxis]
    if kind == "discrete":
        resolution = 1 / N_IMAGES
        scores = np.round((0.95 + 0.006 * scores) * N_IMAGES) * resolution
    if kind == "failing":
        scores[generator.random(shape) < 0.1] = nan
    for experiment in scores:
        yield {str(index): values for index, values in enumerate(experiment)}, resolution


def is_false(pair: PairTest, means: tuple[float, ...]) -> bool:
    return pair.label == "better" and means[int(pair.first)] <= means[int(pair.second)]


def at_most_5_percent(n_false: int, n_experiments: int) -> bool:
    """Two standard errors of the simulation are allowed for."""
    error: float = (0.05 * 0.95 / n_experiments) ** 0.5
    return n_false / n_experiments <= 0.05 + 2 * error


@pytest.mark.parametrize(
    ("first", "second", "label"),
    [
        (ten(0.9), ten(0.88, shift=1), "better"),
        (ten(0.9, 0.1), ten(0.8999, 0.1, shift=1), "tied"),
        (ten(0.9), ten(0.899, shift=1), "undecided"),
        # Where a trial failed, nothing is tied, however close the others are.
        (ten(0.9, 0.1), ten(0.9, 0.1, shift=1, n_failed=1), "undecided"),
        (ten(0.9, 0.1, n_failed=1), ten(0.9, 0.1, shift=1, n_failed=1), "undecided"),
        (ten(0.9), ten(0.8, shift=1, n_failed=1), "better"),
        # One seed at which both completed says nothing, but nine failures of ten do.
        (ten(0.9), ten(0.9, n_failed=9), "better"),
        (ten(0.9), ten(0.9, n_failed=10), "better"),
        (ten(0.9), ten(0.9, n_failed=5), "undecided"),
        (ten(0.9, n_failed=10), ten(0.8, n_failed=10), "undecided"),
    ],
)
def test_a_pair_has_the_label_that_its_trials_deserve(
    first: FloatArray, second: FloatArray, label: str
) -> None:
    pair = compare({"a": first, "b": second})[frozenset("ab")]
    assert (pair.first, pair.label) == ("a", label)


def test_the_margin_decides_what_a_tie_is() -> None:
    scores = {"a": ten(0.9), "b": ten(0.899, shift=1)}
    assert compare(scores, rules(margin=0.01))[frozenset("ab")].label == "tied"


def test_pairing_takes_out_what_the_seeds_share() -> None:
    together = {"a": ten(0.9), "b": ten(0.899)}
    assert compare(together)[frozenset("ab")].label == "better"
    apart = together | {"b": ten(0.899, shift=1)}
    assert compare(apart)[frozenset("ab")].label == "undecided"


def test_more_pairs_ask_for_a_smaller_p() -> None:
    scores = {"a": ten(0.9), "b": ten(0.8965, shift=1)}
    alone = compare(scores)[frozenset("ab")]
    others = {name: ten(0.9, shift=shift) for name, shift in (("c", 2), ("d", 3), ("e", 4))}
    among = compare(scores | others)[frozenset("ab")]
    assert (alone.label, among.label) == ("better", "undecided")
    assert alone.p == among.p
    assert alone.nominal == pytest.approx(0.05 / 2)
    # One of the other nine pairs is rejected before it.
    assert among.nominal == pytest.approx(0.05 / 2 / 9)


def test_holm_s_steps_are_those_worked_out_by_hand() -> None:
    # Three pairs at the first look, at which half of 5 % may be spent: .025 / 3, .025 / 2 and .025.
    # b is behind a by .0103 with an error of .0031, c by .0084 with one of .0026.
    generator = np.random.default_rng(11)
    steps = generator.normal(0, 1, (3, 10))
    steps = (steps - steps.mean(axis=1, keepdims=True)) / steps.std(axis=1, ddof=1, keepdims=True)
    scores = {"a": np.zeros(10), "b": -0.0103 + 0.0098 * steps[0], "c": -0.0084 + 0.0082 * steps[1]}
    found = compare(scores)
    p = {name: found[frozenset(name)].p for name in ("ab", "ac", "bc")}
    # t of nine degrees of freedom is 3.3236 and 3.2395.
    assert p["ab"] == pytest.approx(0.00889, abs=5e-5)
    assert p["ac"] == pytest.approx(0.01018, abs=5e-5)
    assert {name: found[frozenset(name)].label for name in p} == dict.fromkeys(p, "undecided")
    assert [found[frozenset(name)].nominal for name in p] == pytest.approx([0.025 / 3] * 3)
    # Somewhat further behind, ab falls below .025 / 3, so ac needs no more than .025 / 2.
    scores["b"] -= 0.0003
    found = compare(scores)
    assert found[frozenset("ab")].p <= 0.025 / 3 < found[frozenset("ac")].p <= 0.025 / 2
    assert [found[frozenset(name)].label for name in p] == ["better", "better", "undecided"]
    assert [found[frozenset(name)].nominal for name in p] == pytest.approx(
        [0.025 / 3, 0.025 / 2, 0.025]
    )


@pytest.mark.parametrize("n_optimizers", [2, 3, 5])
def test_the_first_look_is_holm_s_procedure_at_half_the_level(n_optimizers: int) -> None:
    generator = np.random.default_rng(n_optimizers)
    for _ in range(50):
        means = generator.normal(0, 1, n_optimizers)
        scores = {str(i): generator.normal(mean, 1, 10) for i, mean in enumerate(means)}
        found = compare_pairs(scores, rules(resolution=1e-9))
        n_rejected, order = 0, sorted(pair.p for pair in found)
        while n_rejected < len(order) and order[n_rejected] <= 0.025 / (len(order) - n_rejected):
            n_rejected += 1
        better = sorted(pair.p for pair in found if pair.label == "better")
        assert better == order[:n_rejected]


def test_each_look_has_its_own_level_and_the_last_one_is_told() -> None:
    generator = np.random.default_rng(0)
    scores = {name: generator.normal(0.9, 0.01, 160) for name in "ab"}
    for n_seeds in looks(160):
        pair = compare(scores, rules(at_most=n_seeds))[frozenset("ab")]
        assert (pair.label, pair.n_seeds) == ("undecided", n_seeds)
        assert pair.nominal == pytest.approx(2 * nominal_level(looks(n_seeds), 0.025))


def test_what_was_once_better_stays_so_whatever_the_next_seeds_say() -> None:
    ahead, behind = np.full(40, 0.8), np.full(40, 0.9)
    ahead[:10], behind[:10] = ten(0.9), ten(0.89, shift=1)
    first = compare({"a": ahead[:10], "b": behind[:10]})
    assert first[frozenset("ab")].label == "better"
    for n_seeds in (15, 20, 30, 40):
        scores = {"a": ahead[:n_seeds], "b": behind[:n_seeds]}
        assert compare(scores, rules(at_most=n_seeds)) == first


def test_a_pair_of_which_one_left_the_race_is_judged_by_the_seeds_that_both_have() -> None:
    generator = np.random.default_rng(1)
    scores = {name: generator.normal(0.9, 0.01, 40) for name in "abc"}
    shorter = scores | {"c": scores["c"][:15]}
    found = compare(shorter, rules(at_most=40))
    n_seeds = {"".join(sorted(names)): pair.n_seeds for names, pair in found.items()}
    assert n_seeds == {"ab": 40, "ac": 15, "bc": 15}
    # It still counts as one of three hypotheses.
    assert found == {
        **compare(scores, rules(at_most=15)),
        frozenset("ab"): compare(scores, rules(at_most=40))[frozenset("ab")],
    }


def test_scores_between_two_looks_wait_for_the_next_one() -> None:
    generator = np.random.default_rng(2)
    scores = {name: generator.normal(0.9, 0.01, 19) for name in "ab"}
    at_15 = {name: values[:15] for name, values in scores.items()}
    assert compare(scores, rules(at_most=160)) == compare(at_15, rules(at_most=160))


def test_the_first_of_a_pair_is_ahead_whichever_is_named_first() -> None:
    for scores, resolution in draw("normal", 50, (0.5, 0, 0), 20):
        found = compare(scores, rules(0.1, 20, resolution))
        turned = compare(dict(reversed(scores.items())), rules(0.1, 20, resolution))
        for names, pair in found.items():
            assert pair.mean_difference is not None
            assert pair.mean_difference > 0
            mean = scores[pair.first][: pair.n_seeds].mean()
            assert mean > scores[pair.second][: pair.n_seeds].mean()
            other = turned[names]
            assert (other.first, other.second, other.label) == (pair.first, pair.second, pair.label)
            assert (other.low, other.high, other.p, other.nominal) == pytest.approx(
                (pair.low, pair.high, pair.p, pair.nominal)
            )


def test_pairs_come_in_the_order_of_the_names() -> None:
    scores = {name: ten(0.9, shift=shift) for shift, name in enumerate("dacb")}
    found = [{pair.first, pair.second} for pair in compare_pairs(scores, rules())]
    assert found == [set(pair) for pair in combinations("dacb", 2)]


def test_one_optimizer_makes_no_pair() -> None:
    assert compare_pairs({"a": ten(0.9)}, rules()) == ()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "means", "n_experiments"),
    [
        *mainly([("failing", (0, 0), 1500)], ((kind, (0, 0), 1500) for kind in KINDS)),
        # More than two share the level, whatever the kind.
        *(
            (kind, means, 200)
            for kind in ("normal", "failing")
            for means in ((0, 0, 0, 0, 0), (0, 0, -1, -1, -3))
        ),
    ],
)
def test_over_all_looks_better_is_wrongly_said_in_one_of_twenty_experiments_at_most(
    kind: str, means: tuple[float, ...], n_experiments: int
) -> None:
    n_false = sum(
        any(is_false(pair, means) for pair in compare_pairs(scores, rules(0, 160, resolution)))
        for scores, resolution in draw(kind, n_experiments, means, 160)
    )
    assert at_most_5_percent(n_false, n_experiments)


@pytest.mark.slow
def test_of_ten_equal_optimizers_the_same_is_true_for_all_kinds_of_scores() -> None:
    means = (0.0,) * 10
    n_false = sum(
        any(is_false(pair, means) for pair in compare_pairs(scores, rules(0, 160, resolution)))
        for kind in KINDS
        for scores, resolution in draw(kind, 25, means, 160)
    )
    assert at_most_5_percent(n_false, 25 * len(KINDS))


@pytest.mark.parametrize("kind", ["normal", "skewed", "discrete"])
def test_with_plenty_of_seeds_a_true_tie_is_called_one(kind: str) -> None:
    labels = [
        pair.label
        for scores, resolution in draw(kind, 50, (0, 0, 0), 160)
        for pair in compare_pairs(
            scores, rules(0.006 if kind == "discrete" else 1, 160, resolution)
        )
    ]
    assert labels.count("tied") >= 0.95 * len(labels)


def _tied_wrongly(scores: Mapping[str, FloatArray], resolution: float) -> bool:
    return any(pair.label == "tied" for pair in compare_pairs(scores, rules(0.5, 60, resolution)))


def test_a_pair_that_differs_by_more_than_the_margin_is_seldom_called_tied() -> None:
    n_false = sum(
        _tied_wrongly(scores, resolution)
        for scores, resolution in draw("normal", 1000, (0.5 + 1e-6, 0), 60)
    )
    assert at_most_5_percent(n_false, 1000)
