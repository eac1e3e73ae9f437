"""The sentence that the labels allow."""

import pytest

from stages.evaluate.pairs import Sample, compare_pairs, rank
from stages.evaluate.verdict import Verdict, judge
from tests.unit.test_pairs import sample

FAILED = sample(0.9, n_failed=10)
NEAR = sample(0.899, shift=1)


def judged(tuned: dict[str, Sample], configured: dict[str, Sample] | None = None) -> Verdict:
    untuned = configured or tuned
    pairs, untuned_pairs = (
        compare_pairs(samples, confidence=0.95, margin=0.002, n_test=10_000)
        for samples in (tuned, untuned)
    )
    return judge(tuned, pairs, untuned, untuned_pairs, 0.002)


@pytest.mark.parametrize(
    ("samples", "best", "sentence"),
    [
        (
            {"a": sample(0.8), "b": sample(0.9), "c": sample(0.7)},
            "b",
            "Best is b: better than a and c.",
        ),
        (
            {"a": sample(0.9, 0.1), "b": sample(0.8999, 0.1, shift=1), "c": sample(0.5)},
            "a",
            "Best is a: better than c and tied with b (within 0.002).",
        ),
        (
            {"a": sample(0.9), "b": NEAR, "c": sample(0.8989, shift=3), "d": sample(0.5)},
            None,
            "Undecided: a leads, better than d, but b and c may be as good.",
        ),
        (
            {"a": sample(0.9), "b": NEAR},
            None,
            "Undecided: a leads, but b may be as good.",
        ),
        ({"a": FAILED, "b": sample(0.1)}, "b", "Best is b: better than a."),
        (
            {"a": sample(0.9, n_failed=1), "b": sample(0.8), "c": sample(0.5)},
            None,
            "Undecided: b leads, better than c, but a (failed in 1 of 10) may be as good.",
        ),
        (
            {"a": sample(0.9, n_failed=1), "b": sample(0.5, n_failed=1)},
            None,
            "Undecided: a leads, but every optimizer failed at some seed.",
        ),
        (
            {"a": Sample({1: 0.8}, 0), "b": Sample({1: 0.9}, 0)},
            None,
            "Undecided: b leads, but one seed tells nothing of chance.",
        ),
    ],
    ids=[
        "clear",
        "tied",
        "undecided",
        "nothing sure",
        "one left",
        "failing above",
        "all fail at times",
        "one seed",
    ],
)
def test_the_verdict_names_a_best_only_where_the_labels_do(
    samples: dict[str, Sample], best: str | None, sentence: str
) -> None:
    same = f"With the configured rates {rank(samples)[0]} leads too."
    assert judged(samples) == Verdict(best, f"{sentence} {same}")


@pytest.mark.parametrize(
    ("samples", "best", "sentence"),
    [
        ({"a": sample(0.9)}, "a", "Only a was trained."),
        ({"a": FAILED}, None, "Undecided: every trial failed."),
        ({"a": FAILED, "b": FAILED}, None, "Undecided: every trial failed."),
    ],
)
def test_where_there_is_nothing_to_compare_it_says_so(
    samples: dict[str, Sample], best: str | None, sentence: str
) -> None:
    assert judged(samples) == Verdict(best, sentence)


@pytest.mark.parametrize(
    ("configured", "sentence"),
    [
        ([sample(0.9), sample(0.8), sample(0.7)], "a leads too."),
        ([sample(0.7), sample(0.9), sample(0.8)], "b is better than a."),
        ([NEAR, sample(0.9), sample(0.8)], "b leads, but a may be as good."),
        ([NEAR, sample(0.9), NEAR], "b leads, but a and c may be as good."),
        ([FAILED, FAILED, FAILED], "every trial failed."),
    ],
)
def test_the_verdict_says_what_tuning_changed(configured: list[Sample], sentence: str) -> None:
    tuned = {"a": sample(0.9), "b": sample(0.8), "c": sample(0.7)}
    verdict = judged(tuned, dict(zip("abc", configured, strict=True)))
    expected = f"Best is a: better than b and c. With the configured rates {sentence}"
    assert verdict.sentence == expected
