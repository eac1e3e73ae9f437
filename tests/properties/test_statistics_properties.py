"""What holds of every interval and every ranking."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.common.artifacts import Standing
from stages.evaluate.statistics import estimate
from stages.evaluate.verdict import judge
from tests.examples import standing

CONFIDENCE = 0.95
accuracies = st.floats(0, 1)
samples = st.lists(accuracies, min_size=2, max_size=20)
standings = st.lists(
    st.builds(standing, accuracies, st.floats(0, 0.1), st.integers(0, 3)),
    min_size=1,
    max_size=6,
    unique_by=lambda one: (one.n_diverged, one.test_accuracy.mean),
)


def ends(values: list[float]) -> tuple[float, float, float]:
    result = estimate(values, CONFIDENCE)
    assert result.mean is not None
    assert result.low is not None
    assert result.high is not None
    return result.low, result.mean, result.high


def named(ordered: list[Standing]) -> dict[str, Standing]:
    return {f"optimizer {index}": one for index, one in enumerate(ordered)}


@given(samples)
def test_an_interval_contains_the_mean(values: list[float]) -> None:
    low, mean, high = ends(values)
    assert low <= mean <= high


@given(samples, st.floats(-100, 100))
def test_a_shift_of_the_values_shifts_the_interval(values: list[float], shift: float) -> None:
    expected = [end + shift for end in ends(values)]
    assert ends([value + shift for value in values]) == pytest.approx(expected, abs=1e-9)


@given(samples, st.randoms())
def test_the_order_of_the_values_does_not_matter(values: list[float], random: object) -> None:
    shuffled = values.copy()
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert ends(shuffled) == pytest.approx(ends(values), abs=1e-12)


@given(samples, st.floats(0.5, 0.9))
def test_more_confidence_needs_a_wider_interval(values: list[float], less: float) -> None:
    low, _, high = ends(values)
    narrow = estimate(values, less)
    assert low <= (narrow.low or 0.0) <= (narrow.high or 0.0) <= high


@given(standings, st.data())
def test_another_diverged_trial_never_improves_a_rank(
    ordered: list[Standing], data: st.DataObject
) -> None:
    before = named(ordered)
    name = data.draw(st.sampled_from(sorted(before)))
    worse = replace(before[name], n_diverged=before[name].n_diverged + 1)
    after = before | {name: worse}
    ranks = [judge(each, CONFIDENCE).ranking.index(name) for each in (before, after)]
    assert ranks[0] <= ranks[1]


@given(standings, st.data())
def test_other_names_in_another_order_change_no_rank(
    ordered: list[Standing], data: st.DataObject
) -> None:
    shuffled = data.draw(st.permutations(ordered))
    rankings = [
        [each[name] for name in judge(each, CONFIDENCE).ranking]
        for each in (named(ordered), named(shuffled))
    ]
    assert rankings[0] == rankings[1]
