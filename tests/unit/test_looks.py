"""When one looks, and that looking again and again costs no more error than it may."""

import numpy as np
import pytest
from scipy.special import ndtri, stdtrit
from scipy.stats import multivariate_normal

from stages.inference.looks import looks, nominal_level

REGULAR = (10, 15, 20, 30, 40, 60, 80, 120, 160, 240, 320)
LEVELS = (1e-6, 0.0005, 0.0025, 0.0125, 0.025, 0.05, 0.1, 0.3)


def levels(numbers: tuple[int, ...], level: float) -> list[float]:
    return [nominal_level(numbers[: index + 1], level) for index in range(len(numbers))]


@pytest.mark.parametrize("n_looks", range(1, len(REGULAR) + 1))
def test_seeds_grow_by_a_half_or_a_third_from_look_to_look(n_looks: int) -> None:
    assert looks(REGULAR[n_looks - 1]) == REGULAR[:n_looks]


@pytest.mark.parametrize("at_most", [10, 11, 14, 15, 25, 31, 100, 161, 319])
def test_where_the_race_may_end_moves_no_look(at_most: int) -> None:
    # Else whoever raises the number seed by seed would look at every one: 7 % instead of 5.
    assert looks(at_most) == tuple(n for n in REGULAR if n <= at_most)


def test_a_further_look_changes_no_earlier_one() -> None:
    before = levels(looks(80), 0.05)
    assert looks(320)[:7] == looks(80)
    assert levels(looks(320), 0.05)[:7] == before


@pytest.mark.parametrize("level", LEVELS)
def test_the_first_look_may_spend_half(level: float) -> None:
    assert nominal_level((10,), level) == pytest.approx(level / 2, rel=1e-6)


@pytest.mark.parametrize("level", LEVELS)
def test_the_second_look_spends_a_sixth_by_the_bivariate_normal_distribution(level: float) -> None:
    first, second = (-ndtri(nominal) for nominal in levels((10, 15), level))
    correlation = (10 / 15) ** 0.5
    covariance = [[1.0, correlation], [correlation, 1.0]]
    neither = multivariate_normal(cov=covariance).cdf([first, second])
    assert 1 - neither == pytest.approx(level * 2 / 3, rel=1e-4, abs=1e-9)


@pytest.mark.parametrize("level", [0.05, 0.3])
def test_a_normal_walk_spends_just_what_it_may_up_to_each_look(level: float) -> None:
    numbers, n_walks = looks(320), 100_000
    steps = np.diff(numbers, prepend=0) ** 0.5
    walk = np.cumsum(np.random.default_rng(0).normal(0, steps, (n_walks, len(steps))), axis=1)
    boundary = -ndtri(levels(numbers, level)) * np.sqrt(numbers)
    spent = np.maximum.accumulate(walk >= boundary, axis=1).mean(axis=0)
    j = np.arange(1, len(numbers) + 1)
    expected = level * j / (j + 1)
    assert np.abs(spent - expected).max() <= 3 * (level / n_walks) ** 0.5


@pytest.mark.parametrize(
    ("n_seeds", "with_spending", "without"),
    [(10, 4.146, 3.690), (15, 3.991, 3.326), (40, 3.962, 2.976), (160, 4.027, 2.847)],
)
def test_looking_often_asks_for_a_larger_t(
    n_seeds: int, with_spending: float, without: float
) -> None:
    # Two-sided .005, as Holm's first step with ten pairs has it.
    level = 0.005 / 2
    found = nominal_level(looks(n_seeds), level)
    assert -stdtrit(n_seeds - 1, found) == pytest.approx(with_spending, abs=5e-4)
    assert -stdtrit(n_seeds - 1, level) == pytest.approx(without, abs=5e-4)
