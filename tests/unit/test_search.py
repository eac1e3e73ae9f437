"""Which settings tune an optimizer, and what decides between them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from math import log10
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.common.optimizer_params import Optimizer
from stages.common.params import Tuning, count_points
from stages.common.runs import Completed, Failed, TrialRow
from stages.train import search as searched
from stages.train.search import CONFIGURED, Merit, Point, merit, next_points
from tests.examples import SCORE, trial_row
from tests.parameters import COMMITTED, optimizer

FIRST = (0.1, 1.0, 10.0)
LOST: Merit = (-3,)


def budget(n_settings: int, factors: Sequence[float] = FIRST) -> Tuning:
    return Tuning(
        learning_rate_factors=tuple(factors), n_settings=n_settings, seeds=(1, 2, 3), final_seeds=()
    )


def next_factors(merits: Mapping[float, Merit], tuning: Tuning) -> list[float]:
    """Of an optimizer whose learning rate alone is tuned."""
    points = {Point(factor): given for factor, given in merits.items()}
    found = next_points(points, tuning, optimizer(class_name="SGD"))
    assert all(point.arguments == () for point in found)
    return [point.factor for point in found]


def choose_finalists(merits: Mapping[float, Merit]) -> list[float]:
    points = {Point(factor): given for factor, given in merits.items()}
    return [point.factor for point in searched.choose_finalists(points)]


def score(accuracy: float) -> Merit:
    return 0, accuracy, -1.0


def scores(*accuracies: float | None, factors: Sequence[float] = FIRST) -> dict[float, Merit]:
    """Of the factors in their order; None where all trials diverged."""
    merits = (LOST if a is None else score(a) for a in accuracies)
    return dict(zip(factors, merits, strict=True))


def search(tuning: Tuning, merit_of: Callable[[float], Merit]) -> list[list[float]]:
    """All rounds until the budget is spent; no more of them than a search may have."""
    merits: dict[float, Merit] = {}
    rounds: list[list[float]] = []
    while factors := next_factors(merits, tuning):
        assert len(rounds) < tuning.n_settings, f"goes on for ever, with {factors}"
        rounds.append(factors)
        merits |= {factor: merit_of(factor) for factor in factors}
    return rounds


def peak_at(best: float, diverges_above: float = float("inf")) -> Callable[[float], Merit]:
    """Accuracy falls with the distance from the best factor."""
    return lambda f: LOST if f > diverges_above else score(1 - 0.1 * abs(log10(f / best)))


def test_the_first_settings_are_the_factors_as_they_stand() -> None:
    assert next_factors({}, budget(8, (3.0, 0.5, 1.0))) == [3.0, 0.5, 1.0]


def test_nothing_is_tried_where_the_budget_is_spent() -> None:
    assert next_factors(scores(0.5, 0.6, 0.7), budget(3)) == []


@pytest.mark.parametrize(
    ("factors", "accuracies", "expected"),
    [
        ((0.1, 1.0, 10.0), (0.5, 0.6, 0.7), 100.0),
        ((0.1, 1.0, 3.0), (0.5, 0.6, 0.7), 9.0),
        ((0.1, 1.0, 10.0), (0.7, 0.6, 0.5), 0.01),
        ((0.5, 1.0, 10.0), (0.7, 0.6, 0.5), 0.25),
        ((10.0, 0.5, 1.0), (0.5, 0.7, 0.6), 0.25),
    ],
    ids=["upper", "by the nearest step", "lower", "by the nearest step down", "in any order"],
)
def test_the_grid_grows_beyond_an_edge_by_the_step_before_it(
    factors: Sequence[float], accuracies: Sequence[float], expected: float
) -> None:
    merits = scores(*accuracies, factors=factors)
    assert next_factors(merits, budget(8, factors)) == [pytest.approx(expected, rel=1e-3)]


def test_the_grid_grows_until_the_best_is_inside() -> None:
    rounds = search(budget(8), peak_at(1000.0))
    assert rounds[:4] == [[0.1, 1.0, 10.0], [100.0], [1000.0], [10000.0]]
    assert len(rounds[4]) == 2
    low, high = sorted(rounds[4])
    assert 100 < low < 1000 < high < 10000


def test_an_edge_beyond_which_trials_diverge_is_bracketed_and_then_refined() -> None:
    rounds = search(budget(6), peak_at(10.0, diverges_above=10.0))
    # The diverged neighbour comes second, though it is as near.
    assert rounds == [[0.1, 1.0, 10.0], [100.0], [3.16228, 31.6228]]


@pytest.mark.parametrize(
    ("accuracies", "expected"),
    [
        ((0.5, 0.9, 0.6), [3.16228, 0.316228]),
        ((0.6, 0.9, 0.5), [0.316228, 3.16228]),
        ((0.6, 0.9, None), [0.316228, 3.16228]),
        ((None, 0.9, 0.6), [3.16228, 0.316228]),
    ],
)
def test_the_step_is_halved_around_the_best_on_the_better_neighbours_side_first(
    accuracies: Sequence[float | None], expected: list[float]
) -> None:
    merits = scores(*accuracies)
    assert next_factors(merits, budget(8)) == expected
    assert next_factors(merits, budget(4)) == expected[:1]


def test_the_step_is_halved_again() -> None:
    _, second, third = search(budget(7), peak_at(1.0))
    assert sorted(second) == [0.316228, 3.16228]
    assert sorted(third) == [0.562342, 1.77828]


def test_one_factor_alone_is_bracketed_from_below_then_above() -> None:
    rounds = search(budget(3, [1.0]), peak_at(1.0))
    assert rounds == [[1.0], [0.316228], [3.16228]]


def test_where_all_diverge_the_rates_go_lower() -> None:
    assert search(budget(6), lambda _: LOST) == [[0.1, 1.0, 10.0], [0.01], [0.001], [0.0001]]
    assert search(budget(3, [1.0]), lambda _: LOST) == [[1.0], [0.316228], [0.1]]


@pytest.mark.parametrize(
    "merit_of",
    [
        peak_at(1.0),
        peak_at(1e6),
        peak_at(1e-6),
        peak_at(10.0, diverges_above=1.0),
        lambda _: LOST,
        lambda _: score(0.5),
    ],
    ids=["inside", "high", "low", "diverging", "all diverge", "all equal"],
)
def test_every_search_has_as_many_settings_whatever_happens(
    merit_of: Callable[[float], Merit],
) -> None:
    for n_settings in range(3, 25):
        tried = [factor for factors in search(budget(n_settings), merit_of) for factor in factors]
        assert len(set(tried)) == len(tried) == n_settings


# Few values, so that there are ties.
merits = st.sampled_from([LOST, (-2, 0.5, -1.0), (-1, 0.9, -1.0)]) | st.builds(
    score, st.sampled_from([0.1, 0.5, 0.9]) | st.floats(0, 1)
)
grids = st.sampled_from(
    [(1.0,), (0.1, 10.0), FIRST, (0.5, 1.0, 2.0), COMMITTED.tuning.learning_rate_factors]
)


@given(st.data(), grids, st.integers(0, 24))
def test_no_search_tries_a_factor_twice_or_more_settings_than_it_has(
    data: st.DataObject, factors: tuple[float, ...], n_more: int
) -> None:
    n_settings = min(len(factors) + n_more, 24)
    rounds = search(budget(n_settings, factors), lambda _: data.draw(merits))
    tried = [factor for factors in rounds for factor in factors]
    assert len(set(tried)) == len(tried) == n_settings
    assert all(0 < factor < float("inf") for factor in tried)


def test_finalists_are_the_best_three() -> None:
    found = choose_finalists(scores(0.5, None, 0.8, 0.7, 0.6, factors=(1, 2, 3, 4, 5)))
    assert found == [3, 4, 5]


def test_the_first_tried_of_equals_is_a_finalist() -> None:
    assert choose_finalists(scores(0.5, 0.5, 0.9, 0.5, factors=(4, 1, 3, 2))) == [3, 4, 1]


def test_all_are_finalists_where_there_are_fewer_than_three() -> None:
    assert choose_finalists(scores(0.5, 0.9, factors=(1, 2))) == [2, 1]


def row(accuracy: float | None, loss: float = 1.0) -> TrialRow:
    """None for a trial that diverged."""
    result = trial_row("tuning", 0, 1, accuracy)
    return replace(result, validation_loss=loss) if isinstance(result, Completed) else result


def failed() -> TrialRow:
    about = {key: value for key, value in vars(row(None)).items() if key != "outcome"}
    return Failed(**about, reason="no room")


@pytest.mark.parametrize(
    ("better", "worse"),
    [
        ([row(0.7)], [row(0.5)]),
        ([row(0.5), row(0.9)], [row(0.9), row(0.4)]),
        ([row(0.5), row(0.5)], [row(0.9), row(None)]),
        ([row(0.5), row(0.5)], [row(0.9), failed()]),
        ([row(0.1), row(None)], [row(None), failed()]),
        ([row(0.1), row(0.1), row(None)], [row(0.9), row(None), failed()]),
        ([row(0.5, loss=1.0)], [row(0.5, loss=2.0)]),
        ([row(0.6, loss=2.0)], [row(0.5, loss=1.0)]),
        ([row(0.0)], [row(None)]),
    ],
    ids=[
        "best",
        "mean",
        "a diverged trial loses",
        "a failed trial loses",
        "fewer lost",
        "fewer lost of three",
        "loss decides",
        "accuracy before loss",
        "guessing wrong is better than diverging",
    ],
)
def test_the_greater_merit_is_the_better_setting(
    better: list[TrialRow], worse: list[TrialRow]
) -> None:
    assert merit(better, SCORE) > merit(worse, SCORE)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ([row(0.5)], [row(0.5)]),
        ([row(None)], [failed()]),
        ([row(0.25), row(0.75)], [row(0.75), row(0.25)]),
    ],
    ids=["equal", "failing is as bad as diverging", "the order of trials does not matter"],
)
def test_equal_trials_have_equal_merit(first: list[TrialRow], second: list[TrialRow]) -> None:
    assert merit(first, SCORE) == merit(second, SCORE)


LOWER = replace(SCORE, sign=-1)


@pytest.mark.parametrize(
    ("better", "worse"),
    [
        ([row(0.5)], [row(0.7)]),
        ([row(0.9), row(0.4)], [row(0.5), row(0.9)]),
        ([row(0.9), row(0.9)], [row(0.5), row(None)]),
        ([row(0.5, loss=1.0)], [row(0.5, loss=2.0)]),
    ],
    ids=["lowest", "mean", "a diverged trial loses", "the lower loss decides"],
)
def test_where_a_lower_score_is_better_it_makes_the_better_setting(
    better: list[TrialRow], worse: list[TrialRow]
) -> None:
    assert merit(better, LOWER) > merit(worse, LOWER)


def test_a_search_goes_to_the_lowest_score_where_lower_is_better() -> None:
    def error(factor: float) -> Merit:
        return merit([row(abs(log10(factor / 100.0)))], LOWER)

    rounds = search(budget(6), error)
    assert rounds[:3] == [[0.1, 1.0, 10.0], [100.0], [1000.0]]
    merits = {factor: error(factor) for factors in rounds for factor in factors}
    assert choose_finalists(merits)[0] == 100.0


SPACE = {
    "momentum": {"low": 0.0, "high": 0.99, "scale": "one_minus_log"},
    "weight_decay": {"low": 1e-5, "high": 0.1, "scale": "log"},
    "clipnorm": {"low": 1.0, "high": 3.0, "scale": "linear"},
    "nesterov": {"choices": [True, False]},
}


def search_in_space(
    entry: Optimizer, tuning: Tuning, merit_of: Callable[[Point], Merit]
) -> list[list[Point]]:
    merits: dict[Point, Merit] = {}
    rounds: list[list[Point]] = []
    while points := next_points(merits, tuning, entry):
        assert len(rounds) < tuning.n_settings, f"goes on for ever, with {points}"
        rounds.append(points)
        merits |= {point: merit_of(point) for point in points}
    return rounds


def flat(_: Point) -> Merit:
    return score(0.5)


def test_a_search_begins_with_the_configured_setting_and_stays_in_its_space() -> None:
    entry = optimizer(class_name="SGD", search=SPACE)
    points = [p for r in search_in_space(entry, budget(24), flat) for p in r]
    assert points[0] == CONFIGURED == Point(1.0)
    for point in points[1:]:
        values = dict(point.arguments)
        assert list(values) == sorted(SPACE)
        assert 0 <= values["momentum"] <= 0.99
        assert 1e-5 <= values["weight_decay"] <= 0.1
        assert 1 <= values["clipnorm"] <= 3
        assert values["nesterov"] in (True, False)
    # Halton points fill each dimension evenly on its scale: about half of them on either side.
    middles = {"momentum": 0.9, "weight_decay": 1e-3, "clipnorm": 2.0, "nesterov": 0.5}
    for name, middle in middles.items():
        n_above = sum(dict(point.arguments)[name] > middle for point in points[1:])
        assert 9 <= n_above <= 14, name


@given(st.integers(1, 24), st.data())
def test_every_optimizer_has_the_same_number_of_settings_whatever_its_space(
    n_settings: int, data: st.DataObject
) -> None:
    space = data.draw(st.dictionaries(st.sampled_from(sorted(SPACE)), st.just(None), min_size=1))
    factors = data.draw(st.sampled_from([[1.0], [0.5], [0.1, 1.0], None]))
    entry = optimizer(
        class_name="SGD",
        learning_rate_factors=factors,
        search={name: SPACE[name] for name in space},
    )
    if count_points(entry, budget(n_settings)) < n_settings:
        return  # refused when params.yaml is read
    first = tuple(10.0**k for k in range(min(n_settings, 3)))
    rounds = search_in_space(entry, budget(n_settings, first), lambda _: data.draw(merits))
    points = [point for points in rounds for point in points]
    assert len(points) == len(set(points)) == n_settings


def test_a_best_rate_at_the_edge_of_a_space_is_followed_with_its_arguments() -> None:
    entry = optimizer(class_name="SGD", search={"momentum": SPACE["momentum"]})
    rounds = search_in_space(entry, budget(8), lambda p: score(0.01 * log10(p.factor)))
    first, *others = rounds
    best = max(first, key=lambda point: point.factor)
    assert [point for (point,) in others] == [
        Point(cast("float", pytest.approx(best.factor * 10 ** (n / 2), rel=1e-6)), best.arguments)
        for n in range(1, 6)
    ]


def test_a_single_factor_keeps_the_rate_and_spends_the_budget_on_the_other_dimensions() -> None:
    entry = optimizer(
        class_name="SGD", learning_rate_factors=[1.0], search={"momentum": SPACE["momentum"]}
    )
    points = [p for r in search_in_space(entry, budget(10), flat) for p in r]
    assert {point.factor for point in points} == {1.0}
    assert len(set(points)) == 10


def test_the_points_of_a_space_are_the_same_in_every_run() -> None:
    entry = optimizer(class_name="SGD", search={"momentum": SPACE["momentum"]})
    (_, second, *_), *_ = search_in_space(entry, budget(10), flat)
    assert second == Point(2.59687, (("momentum", 0.884697),))
