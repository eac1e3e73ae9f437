"""The sentence and the lines that say which optimizer to take, and what that may cost."""

from collections.abc import Mapping
from typing import Any

import pytest

from stages.common.results import Confirmed, Criteria, Estimate, Look, OptimizerResult, Pair
from stages.common.words import enumerate_names
from stages.evaluate.verdict import Verdict, conclude
from stages.inference.race import Race, Rules

RULES = Rules(margin=0.002, confidence=0.95, resolution=0.0001, at_most=160)
SURE = "(95 % sure, however often you looked)"
SETTINGS = "It holds for the settings that tuning found; a larger budget may find better ones."
# By first and second, how far the first is ahead at least.
Ahead = Mapping[tuple[str, str], float]


def result(
    accuracy: float | None = 0.9,
    *,
    n_failed: int = 0,
    n_trials: int = 10,
    state: float = 0,
    steps: float | None = 180,
) -> OptimizerResult:
    mean = Estimate(accuracy, None, None, None)
    tuned = Confirmed(0.1, n_trials, n_failed, mean, mean, mean, mean)
    return OptimizerResult("SGD", tuned, tuned, Criteria((), 10, None, steps, 0.1, 0.1, 0, state))


def pair(first: str, second: str, low: float, high: float, width: float | None = 0.01) -> Pair:
    middle = (low + high) / 2
    return Pair(first, second, "undecided", 10, middle, low, high, 0.5, 0.005, 0.5, width)


def race(names: str, ahead: Ahead, bound: float | None, **beaten: int) -> Race:
    """A race that ended at 15 seeds with `a` in front; `beaten` left at so many seeds."""
    looks, racing = [], tuple(names)
    for n_seeds in (10, 15):
        out = tuple(name for name in racing if beaten.get(name) == n_seeds)
        looks.append(Look(n_seeds, racing, "a", bound, out))
        racing = tuple(name for name in racing if name not in out)
    return Race(tuple(looks), ahead, is_over=True, next_n_seeds=15)


def verdict(of: Race, *pairs: Pair, rules: Rules = RULES, **results: Any) -> Verdict:
    names = of.looks[0].racing
    return conclude(of, rules, {name: results.get(name, result()) for name in names}, pairs)


def details(of: Race, *pairs: Pair, **results: Any) -> str:
    return "\n".join(verdict(of, *pairs, **results).details)


CLOSE = race("abc", {("a", "b"): -0.0011, ("a", "c"): -0.0018}, 0.0018)
OPEN = race("abc", {("a", "b"): -0.0058, ("a", "c"): -0.0018}, 0.0058)
ALONE = race("abc", {("a", "b"): 0.01, ("a", "c"): 0.02, ("b", "c"): 0.003}, 0.0, b=15, c=10)


@pytest.mark.parametrize(
    ("found", "sentence"),
    [
        (CLOSE, f"Take a: with 15 seeds, no other is ahead of it by more than 0.0018 {SURE}."),
        (ALONE, f"Take a: with 15 seeds, it is ahead of every other {SURE}."),
        (
            race("ab", {("a", "b"): -0.05}, 0.0, b=10),
            f"Take a: with 15 seeds, every other is behind it or fails more often {SURE}.",
        ),
        (OPEN, f"Take a for now: after 15 seeds, b may be ahead by up to 0.0058 {SURE}."),
        (
            race("abc", {("a", "b"): -0.001}, None),
            "Take a for now: too few trials completed to say how far another is ahead.",
        ),
    ],
    ids=["taken", "ahead of all", "others fail", "open", "unknown"],
)
def test_the_sentence_says_whom_to_take_and_what_that_may_cost(found: Race, sentence: str) -> None:
    told = verdict(found)
    assert (told.best, told.sentence) == ("a", sentence)


def test_a_bound_of_just_the_margin_is_enough() -> None:
    assert verdict(race("ab", {("a", "b"): -0.002}, 0.002)).sentence.startswith("Take a: with")
    above = race("ab", {("a", "b"): -0.0020001}, 0.0020001)
    assert verdict(above).sentence.startswith("Take a for now: after 15 seeds, b")


@pytest.mark.parametrize(
    ("bound", "printed"),
    [
        (0.00100001, "0.0011"),
        (0.00104, "0.0011"),
        (0.00109999, "0.0011"),
        (0.0011, "0.0011"),
        (0.0011 + 1e-15, "0.0011"),  # what arithmetic adds is no reason for another digit
        (0.00000001, "0.0001"),
        (0.0, "0.0000"),
    ],
)
def test_the_bound_is_rounded_up_and_never_down(bound: float, printed: str) -> None:
    told = verdict(race("ab", {("a", "b"): -bound}, bound))
    assert f"by more than {printed} (" in told.sentence
    assert bound == 0 or f"b (by up to {printed})" in told.details[0]
    open_one = race("ab", {("a", "b"): -bound - 1}, bound + 1)
    assert f"ahead by up to 1{printed[1:]} (" in verdict(open_one).sentence


def test_confidence_is_that_of_the_rules() -> None:
    rules = Rules(margin=0.002, confidence=0.995, resolution=0.0001, at_most=160)
    assert "(99.5 % sure, however often you looked)" in verdict(CLOSE, rules=rules).sentence


def test_every_trial_failed_leaves_nothing_to_take() -> None:
    lost = result(None, n_failed=10)
    told = verdict(race("ab", {}, None), a=lost, b=lost)
    assert told == Verdict(None, "No optimizer can be taken: every trial failed.", ())


def test_one_optimizer_has_no_rival_but_a_failure_rate() -> None:
    told = verdict(race("a", {}, 0.0))
    assert (told.best, told.sentence) == ("a", "Only a was trained.")
    assert [line.startswith("All 10 trials of a completed") for line in told.details] == [True]


def test_who_may_be_as_good_is_named_with_how_far_ahead_the_most_first() -> None:
    told = details(CLOSE)
    assert "Possibly as good, or even ahead: c (by up to 0.0018) and b (by up to 0.0011)." in told


def test_a_rival_that_cannot_be_ahead_is_not_named() -> None:
    assert "As good" not in details(race("ab", {("a", "b"): 0.0}, 0.0))


def test_a_rival_of_whom_too_little_is_known_is_named() -> None:
    told = details(race("abc", {("a", "b"): -0.001}, None))
    assert (
        "Possibly as good, or even ahead: c (too few trials completed) and b (by up to 0.0010)."
    ) in told


def test_who_is_out_is_named_with_how_far_behind_by_the_look() -> None:
    first, second = verdict(ALONE).details[:2]
    assert first == "Out after 10 seeds: c (at least 0.0200 behind)."
    assert second == "Out after 15 seeds: b (at least 0.0100 behind)."
    assert "As good" not in details(ALONE)
    assert "Out" not in details(CLOSE)


@pytest.mark.parametrize(
    ("ahead", "said"),
    [
        (0.00209999, "at least 0.0020 behind"),
        (0.0021, "at least 0.0021 behind"),
        (0.00009, "just behind"),
        (-0.001, "fails too often"),
    ],
)
def test_how_far_one_is_behind_is_rounded_down_and_never_up(ahead: float, said: str) -> None:
    assert f"b ({said})" in details(race("ab", {("a", "b"): ahead}, 0.0, b=10))


def test_of_several_who_left_together_the_failing_ones_stand_last() -> None:
    ahead = {("a", "b"): -0.1, ("a", "c"): 0.02, ("a", "d"): 0.01}
    assert (
        "Out after 10 seeds: d (at least 0.0100 behind), c (at least 0.0200 behind) "
        "and b (fails too often)."
    ) in details(race("abcd", ahead, 0.0, b=10, c=10, d=10))


ALIKE = race("ab", {("a", "b"): -0.001}, 0.001)
WITHIN = pair("a", "b", -0.0019, 0.002)


def test_where_all_are_within_the_margin_any_will_do_and_the_cheapest_is_named() -> None:
    told = details(ALIKE, WITHIN, a=result(state=2, steps=90), b=result(state=1, steps=1800))
    assert (
        "All are within 0.002 of each other, so any will do. The cheapest is b (state per weight: "
        "1, steps to the target: 1,800)."
    ) in told


@pytest.mark.parametrize(
    ("b", "said"),
    [
        (result(state=2, steps=89), "The cheapest is b ("),
        (result(state=2, steps=90), "The cheapest is a ("),
        (result(state=2, steps=None), "The cheapest is a ("),
        (result(state=0, steps=None), "The cheapest is b (state per weight: 0)."),
    ],
    ids=["fewer steps", "same", "never there", "less state"],
)
def test_the_cheapest_has_the_least_state_and_then_the_fewest_steps(
    b: OptimizerResult, said: str
) -> None:
    assert said in details(ALIKE, WITHIN, a=result(state=2, steps=90), b=b)


@pytest.mark.parametrize(
    ("last", "b"),
    [
        (pair("a", "b", -0.0021, 0.001), result()),
        (pair("a", "b", -0.001, 0.0021), result()),
        (WITHIN, result(n_failed=1)),
    ],
    ids=["may be behind", "may be ahead", "fails at times"],
)
def test_any_will_do_only_where_no_interval_leaves_the_margin_and_nobody_failed(
    last: Pair, b: OptimizerResult
) -> None:
    assert "any will do" not in details(ALIKE, last, b=b)
    both = (pair("a", "c", 0, 0.001), last)
    assert "any will do" not in details(CLOSE, *both, b=b)


@pytest.mark.parametrize(
    ("n_failed", "n_trials", "line"),
    # Clopper and Pearson's upper ends where none failed, by hand: 1 - 0.025 ** (1 / n), which is
    # 0.3085 and 0.0228; for 3 of 10, R's binom.test gives 0.0667 to 0.6525.
    [
        (
            0,
            10,
            "All 10 trials of a completed, which does not rule out a failure rate of up to 31 %.",
        ),
        (
            0,
            160,
            "All 160 trials of a completed, which does not rule out a failure rate of up to 3 %.",
        ),
        (3, 10, "3 of the 10 trials of a failed; its failure rate lies between 6 and 66 %."),
    ],
)
def test_what_may_fail_is_said_of_the_one_to_take(n_failed: int, n_trials: int, line: str) -> None:
    told = verdict(CLOSE, a=result(n_failed=n_failed, n_trials=n_trials), b=result(n_failed=1))
    assert [detail for detail in told.details if "failure rate" in detail] == [line]


def test_the_test_examples_are_spoken_of_with_the_most_that_they_may_move() -> None:
    pairs = (
        pair("a", "b", -0.01, 0.01, 0.00301),
        pair("c", "a", -0.01, 0.01, 0.002),
        pair("b", "c", -0.01, 0.01, 0.5),
    )
    line = (
        "It holds for these test examples; with others, the differences to those that may be as "
        "good could change by up to 0.0031."
    )
    assert line in verdict(CLOSE, *pairs).details


def test_of_those_who_are_out_the_test_examples_are_not_spoken_of() -> None:
    pairs = (pair("a", "b", 0.01, 0.02), pair("a", "c", 0.01, 0.02), pair("b", "c", 0, 0.01))
    line = "It holds for these test examples; others may give other differences."
    assert line in verdict(ALONE, *pairs).details
    assert line in verdict(CLOSE, pair("a", "b", -0.01, 0.01, None)).details


def test_what_the_answer_does_not_cover_ends_with_the_settings() -> None:
    for found in (CLOSE, OPEN, ALONE):
        assert verdict(found).details[-1] == SETTINGS


@pytest.mark.parametrize("n", [2, 25])
@pytest.mark.parametrize("bound", [0.001, 0.02, None])
def test_the_sentence_stays_as_short_with_25_optimizers_as_with_two(
    n: int, bound: float | None
) -> None:
    names = "abcdefghijklmnopqrstuvwxy"[:n]
    ahead = {} if bound is None else {("a", name): -bound for name in names[1:]}
    told = verdict(race(names, ahead, bound))
    assert len(told.sentence) < 110
    assert told.sentence.count(". ") == 0
    assert told.sentence.endswith(".")


def test_every_line_is_a_whole_sentence() -> None:
    for found in (CLOSE, OPEN, ALONE, ALIKE):
        for line in verdict(found, WITHIN).details:
            assert line[0].isupper()
            assert line.endswith(".")


def test_names_are_enumerated() -> None:
    assert enumerate_names(["a"]) == "a"
    assert enumerate_names(["a", "b"]) == "a and b"
    assert enumerate_names(["a", "b", "c"]) == "a, b and c"
    assert enumerate_names("abcdef") == "a, b, c, d, e and f"
    assert enumerate_names("abcdefgh") == "a, b, c, d, e and 3 others"
