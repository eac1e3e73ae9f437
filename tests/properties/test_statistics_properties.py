"""What holds of every interval, ranking and verdict."""

from collections.abc import Mapping
from dataclasses import replace
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.common.results import Pair
from stages.evaluate.pairs import Sample, compare_pairs, rank
from stages.evaluate.statistics import adjust_by_holm, estimate
from stages.evaluate.verdict import Verdict, judge

CONFIDENCE, MARGIN, N_TEST = 0.95, 0.002, 1000
N_SEEDS = 5
samples_of_values = st.lists(st.floats(0, 1), min_size=2, max_size=20)
# Exact, so that nothing depends on rounding.
p_values_of_tests = st.lists(st.fractions(0, 1, max_denominator=100), min_size=1, max_size=12)


@st.composite
def draw_samples(draw: st.DrawFn) -> dict[str, Sample]:
    """Two to five optimizers, no two with the same mean, that share what a seed does."""
    n_optimizers = draw(st.integers(2, 5))
    seeds = [draw(st.integers(-9, 9)) for _ in range(N_SEEDS)]
    samples = {}
    for index in range(n_optimizers):
        # Of a thousand images; the last one sets the means apart.
        right = [draw(st.integers(800, 820)) + seed for seed in seeds]
        accuracies = dict(enumerate((n + index * 1e-4) / N_TEST for n in right))
        n_failed = draw(st.sampled_from([0, 0, 0, 1, 2, N_SEEDS]))
        for seed in range(n_failed):
            del accuracies[seed]
        samples[f"optimizer {index}"] = Sample(accuracies, n_failed)
    return samples


def compare(samples: Mapping[str, Sample]) -> tuple[Pair, ...]:
    return compare_pairs(samples, confidence=CONFIDENCE, margin=MARGIN, n_test=N_TEST)


def judged(samples: Mapping[str, Sample]) -> Verdict:
    pairs = compare(samples)
    return judge(samples, pairs, samples, pairs, MARGIN)


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


@given(p_values_of_tests, st.fractions(0, "0.999", max_denominator=1000))
def test_holm_s_adjusted_p_tells_what_his_procedure_rejects(
    p_values: list[Fraction], alpha: Fraction
) -> None:
    # As the paper has it: from the smallest p on, against alpha / n, alpha / (n - 1), ..., until
    # the first that is larger.
    order, n_rejected = sorted(p_values), 0
    while n_rejected < len(order) and order[n_rejected] <= alpha / (len(order) - n_rejected):
        n_rejected += 1
    rejected = [
        p for p, adj in zip(p_values, adjust_by_holm(p_values), strict=True) if adj <= alpha
    ]
    assert sorted(rejected) == order[:n_rejected]


@given(p_values_of_tests, st.data())
def test_the_order_of_the_tests_changes_no_adjusted_p(
    p_values: list[Fraction], data: st.DataObject
) -> None:
    order = data.draw(st.permutations(range(len(p_values))))
    adjusted = adjust_by_holm(p_values)
    assert adjust_by_holm([p_values[i] for i in order]) == [adjusted[i] for i in order]


@given(st.lists(st.floats(0, 1), max_size=12))
def test_an_adjusted_p_lies_between_the_raw_one_and_bonferroni_s(p_values: list[float]) -> None:
    n = len(p_values)
    for p, adjusted in zip(p_values, adjust_by_holm(p_values), strict=True):
        assert p <= adjusted <= min(n * p, 1)


@given(p_values_of_tests)
def test_the_smallest_adjusted_p_is_bonferroni_s(p_values: list[Fraction]) -> None:
    assert min(adjust_by_holm(p_values)) == min(len(p_values) * min(p_values), 1)


@given(st.lists(st.floats(0, 1), max_size=12))
def test_a_larger_p_has_no_smaller_adjusted_p(p_values: list[float]) -> None:
    pairs = sorted(zip(p_values, adjust_by_holm(p_values), strict=True))
    adjusted = [after for _, after in pairs]
    assert adjusted == sorted(adjusted)
    assert len(dict(pairs)) == len(set(pairs)), "equal p-values have equal adjusted ones"


@settings(deadline=None)
@given(draw_samples(), st.data())
def test_a_failed_trial_never_improves_a_rank_or_a_claim(
    before: dict[str, Sample], data: st.DataObject
) -> None:
    name = data.draw(st.sampled_from([n for n in before if before[n].accuracies] or [None]))
    if name is None:
        return
    seed = data.draw(st.sampled_from(sorted(before[name].accuracies)))
    kept = {s: score for s, score in before[name].accuracies.items() if s != seed}
    after = before | {name: Sample(kept, before[name].n_failed + 1)}
    ranks = [rank(each).index(name) for each in (before, after)]
    assert ranks[0] <= ranks[1]
    claims = [
        {
            (pair.first, pair.second, pair.label)
            for pair in compare(each)
            if (pair.label == "better" and pair.first == name) or pair.label == "tied"
        }
        for each in (before, after)
    ]
    assert {claim for claim in claims[1] if name in claim} <= claims[0]
    assert judged(after).best != name


@settings(deadline=None)
@given(draw_samples(), st.data())
def test_other_names_in_another_order_change_no_label(
    samples: dict[str, Sample], data: st.DataObject
) -> None:
    names = data.draw(st.permutations(sorted(samples)))
    renamed = dict(zip(samples, names, strict=True))
    order = data.draw(st.permutations(sorted(samples)))
    others = {renamed[name]: samples[name] for name in order}
    # Where all failed, or scores are equal, the name decides who comes first.
    merits = [(s.n_failed, sum(s.accuracies.values())) for s in samples.values()]
    if len(set(merits)) < len(merits):
        return
    expected = [
        replace(pair, first=renamed[pair.first], second=renamed[pair.second])
        for pair in compare(samples)
    ]
    assert sorted(compare(others), key=str) == sorted(expected, key=str)


@settings(deadline=None)
@given(draw_samples(), st.integers(-50, 50))
def test_a_shift_of_all_accuracies_changes_no_label(samples: dict[str, Sample], shift: int) -> None:
    shifted = {
        name: Sample(
            {seed: score + shift / N_TEST for seed, score in sample.accuracies.items()},
            sample.n_failed,
        )
        for name, sample in samples.items()
    }
    labels = [
        [(pair.first, pair.second, pair.label) for pair in compare(each)]
        for each in (samples, shifted)
    ]
    assert labels[0] == labels[1]
    assert judged(samples) == judged(shifted)
