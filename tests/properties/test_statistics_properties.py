"""What holds of every interval, level, pair and race."""

from collections.abc import Mapping
from itertools import pairwise
from math import inf, nan

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from stages.common.files import FloatArray
from stages.common.results import PairTest
from stages.inference.estimates import estimate, p_of_failures, paired_difference
from stages.inference.looks import looks, nominal_level
from stages.inference.pairs import compare_pairs
from stages.inference.race import Race, Rules, run_race

CONFIDENCE, N_TEST = 0.95, 1000
RULES = Rules(margin=0.002, confidence=CONFIDENCE, resolution=1 / N_TEST, at_most=30)
samples_of_values = st.lists(st.floats(0, 1), min_size=2, max_size=20)
levels = st.floats(1e-5, 0.4)
# Ascending numbers of seeds, at least one apart.
numbers_of_seeds = st.lists(st.integers(2, 200), min_size=1, max_size=6, unique=True).map(sorted)
scores_or_failures = st.lists(
    st.tuples(*[st.one_of(st.just(nan), st.floats(0, 1))] * 2), min_size=2, max_size=20
).map(lambda rows: np.array(rows).T)


@st.composite
def draw_scores(draw: st.DrawFn, *, with_failures: bool = True) -> dict[str, FloatArray]:
    """Two to four optimizers, no two with the same mean, that share what a seed does."""
    seeds = np.array(draw(st.lists(st.integers(-9, 9), min_size=30, max_size=30)))
    scores = {}
    for index in range(draw(st.integers(2, 4))):
        # Of a thousand images; the last one sets the means apart.
        own = draw(st.lists(st.integers(800, 812), min_size=30, max_size=30))
        ahead = draw(st.sampled_from([0, 0, 2, 9]))
        values = (np.array(own) + seeds + ahead + index * 1e-4) / N_TEST
        if with_failures:
            values[: draw(st.sampled_from([0, 0, 0, 1, 2]))] = nan
        scores[f"optimizer {index}"] = values
    return scores


def cut(scores: Mapping[str, FloatArray], n_seeds: int) -> dict[str, FloatArray]:
    return {name: values[:n_seeds] for name, values in scores.items()}


def summary(results: tuple[PairTest, ...]) -> dict[tuple[str, str], tuple[str, int]]:
    return {(pair.first, pair.second): (pair.label, pair.n_seeds) for pair in results}


def is_close(first: Race, second: Race) -> bool:
    """The same looks, but for the last bits of their bounds."""
    rows = [
        [(look.n_seeds, look.leader, set(look.racing), set(look.beaten)) for look in race.looks]
        for race in (first, second)
    ]
    bounds = [
        [inf if look.bound is None else look.bound for look in race.looks]
        for race in (first, second)
    ]
    same_end = (first.is_over, first.next_n_seeds) == (second.is_over, second.next_n_seeds)
    return rows[0] == rows[1] and bounds[0] == pytest.approx(bounds[1], abs=1e-9) and same_end


def ends(values: list[float]) -> tuple[float, float, float]:
    result = estimate(values, CONFIDENCE)
    assert result.mean is not None
    assert result.low is not None
    assert result.high is not None
    return result.low, result.mean, result.high


@given(samples_of_values)
def test_an_interval_contains_the_mean(values: list[float]) -> None:
    low, mean, high = ends(values)
    assert low <= mean <= high


@given(samples_of_values, st.floats(-100, 100))
def test_a_shift_of_the_values_shifts_the_interval(values: list[float], shift: float) -> None:
    expected = [end + shift for end in ends(values)]
    assert ends([value + shift for value in values]) == pytest.approx(expected, abs=1e-9)


@given(samples_of_values, st.randoms())
def test_the_order_of_the_values_does_not_matter(values: list[float], random: object) -> None:
    shuffled = values.copy()
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert ends(shuffled) == pytest.approx(ends(values), abs=1e-12)


@given(samples_of_values, st.floats(0.5, 0.9))
def test_more_confidence_needs_a_wider_interval(values: list[float], less: float) -> None:
    low, _, high = ends(values)
    narrow = estimate(values, less)
    assert low <= (narrow.low or 0.0) <= (narrow.high or 0.0) <= high


@given(samples_of_values, st.floats(0, 1))
def test_a_resolution_never_narrows_an_interval(values: list[float], resolution: float) -> None:
    low, _, high = ends(values)
    wide = estimate(values, CONFIDENCE, resolution=resolution)
    assert wide.low is not None
    assert wide.high is not None
    assert wide.low <= low <= high <= wide.high


@given(scores_or_failures)
def test_a_difference_turned_round_is_the_same_with_the_other_sign(scores: FloatArray) -> None:
    first, second = scores
    there = paired_difference(first, second, 1 / N_TEST)
    back = paired_difference(second, first, 1 / N_TEST)
    if there is None or back is None:
        assert there is back is None
    else:
        assert (there.n, there.mean, there.error) == (back.n, -back.mean, back.error)
        assert there.p_above() == pytest.approx(1 - back.p_above())


@given(scores_or_failures)
def test_only_one_of_two_can_be_found_to_fail_more(scores: FloatArray) -> None:
    p = sorted((p_of_failures(*scores), p_of_failures(*scores[::-1])))
    assert 0 < p[0] <= 1 >= p[1]
    assert p[0] + p[1] >= 1 - 1e-12


@given(numbers_of_seeds, levels)
def test_a_look_may_spend_no_less_than_it_adds_and_never_all(
    numbers: list[int], level: float
) -> None:
    j = len(numbers)
    assert level / (j * (j + 1)) * (1 - 1e-6) <= nominal_level(tuple(numbers), level) < level


@given(numbers_of_seeds, levels, st.floats(1.01, 2))
def test_a_larger_level_makes_a_look_easier(
    numbers: list[int], level: float, factor: float
) -> None:
    seeds = tuple(numbers)
    assert nominal_level(seeds, level) < nominal_level(seeds, level * factor)


@given(draw_scores(), st.data())
def test_the_order_of_the_optimizers_changes_nothing(
    scores: dict[str, FloatArray], data: st.DataObject
) -> None:
    others = {name: scores[name] for name in data.draw(st.permutations(sorted(scores)))}
    assert summary(compare_pairs(others, RULES)) == summary(compare_pairs(scores, RULES))
    assert is_close(run_race(others, RULES), run_race(scores, RULES))


@given(draw_scores(), st.sampled_from([-0.5, -0.125, 0.125]))
def test_a_shift_of_all_scores_changes_nothing(scores: dict[str, FloatArray], shift: float) -> None:
    shifted = {name: values + shift for name, values in scores.items()}
    assert summary(compare_pairs(shifted, RULES)) == summary(compare_pairs(scores, RULES))
    assert is_close(run_race(shifted, RULES), run_race(scores, RULES))


@given(draw_scores(), st.integers(10, 30))
def test_more_seeds_only_add_looks(scores: dict[str, FloatArray], n_seeds: int) -> None:
    before, after = run_race(cut(scores, n_seeds), RULES), run_race(scores, RULES)
    assert after.looks[: len(before.looks)] == before.looks
    assert before.is_over == (before.looks == after.looks)
    made = [n for n in looks(RULES.at_most) if n <= n_seeds]
    assert [look.n_seeds for look in before.looks] == made[: len(before.looks)]


@given(draw_scores())
def test_a_race_hangs_together(scores: dict[str, FloatArray]) -> None:
    race = run_race(scores, RULES)
    assert set(race.looks[0].racing) == set(scores)
    for look in race.looks:
        assert set(look.beaten) < set(look.racing)
        assert look.leader in set(look.racing) - set(look.beaten)
        assert look.bound is None or look.bound >= 0
    for before, after in pairwise(race.looks):
        assert set(after.racing) == set(before.racing) - set(before.beaten)
        assert before.bound is None or before.bound > RULES.margin
        if before.leader == after.leader and before.bound is not None:
            assert after.bound is not None
            assert after.bound <= before.bound
    last = race.looks[-1]
    is_reached = last.bound is not None and last.bound <= RULES.margin
    assert race.is_over
    assert is_reached or last.n_seeds == RULES.at_most


@given(draw_scores(), st.integers(10, 29))
def test_what_is_better_stays_better_with_more_seeds(
    scores: dict[str, FloatArray], n_seeds: int
) -> None:
    before, after = (
        {pair for pair in compare_pairs(some, RULES) if pair.label == "better"}
        for some in (cut(scores, n_seeds), scores)
    )
    assert before <= after


@given(draw_scores())
def test_a_label_says_what_its_interval_says(scores: dict[str, FloatArray]) -> None:
    for pair in compare_pairs(scores, RULES):
        values = [scores[name][: pair.n_seeds] for name in (pair.first, pair.second)]
        has_failures = bool(np.isnan(values).any())
        assert (pair.label == "better") == (pair.p <= pair.nominal)
        if pair.low is None or pair.high is None:
            assert pair.label == "undecided" or has_failures
            continue
        assert pair.mean_difference is not None
        assert pair.low <= pair.mean_difference <= pair.high
        if not has_failures:
            assert (pair.low >= 0) == (pair.label == "better")
        is_within = -RULES.margin <= pair.low and pair.high <= RULES.margin
        is_tied = is_within and not has_failures and pair.label != "better"
        assert (pair.label == "tied") == is_tied


@given(draw_scores(with_failures=False), st.data())
def test_where_a_trial_failed_nothing_is_tied(
    scores: dict[str, FloatArray], data: st.DataObject
) -> None:
    name = data.draw(st.sampled_from(sorted(scores)))
    seed = data.draw(st.integers(0, 9))
    assume(not np.isnan(scores[name][seed]))
    scores[name][seed] = nan
    wide = Rules(margin=0.5, confidence=CONFIDENCE, resolution=1 / N_TEST, at_most=30)
    labels = [pair.label for pair in compare_pairs(scores, wide) if name in pair_names(pair)]
    assert "tied" not in labels


def pair_names(pair: PairTest) -> set[str]:
    return {pair.first, pair.second}
