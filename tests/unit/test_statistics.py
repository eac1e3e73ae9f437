"""Student's interval, against numbers that others published."""

import pytest

from stages.common.artifacts import Estimate
from stages.evaluate.statistics import estimate

# Student 1908, table of the additional hours of sleep; the intervals are those of R's t.test.
FIRST_DRUG = [0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0]
SECOND_DRUG = [1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4]


def numbers(given: Estimate) -> tuple[float | None, ...]:
    return given.mean, given.low, given.high, given.standard_deviation


@pytest.mark.parametrize(
    ("values", "confidence", "expected"),
    [
        (FIRST_DRUG, 0.95, (0.75, -0.5297804, 2.0297804, 1.789010)),
        (SECOND_DRUG, 0.95, (2.33, 0.8976775, 3.7623225, 2.002249)),
        # t of one degree of freedom is Cauchy's distribution: its quartiles are -1 and 1.
        ([0.0, 2.0], 0.5, (1.0, 0.0, 2.0, 2**0.5)),
        ([0.9, 0.9, 0.9], 0.95, (0.9, 0.9, 0.9, 0.0)),
        ([0.9], 0.95, (0.9, None, None, None)),
        ([], 0.95, (None, None, None, None)),
    ],
)
def test_an_interval_is_students(
    values: list[float], confidence: float, expected: tuple[float | None, ...]
) -> None:
    assert numbers(estimate(values, confidence)) == pytest.approx(expected, abs=1e-6)


def test_an_interval_ends_at_the_bounds_of_its_quantity() -> None:
    _, low, high, _ = numbers(estimate([0.1, 0.9], 0.95, lowest=0, highest=1))
    assert (low, high) == (0, 1)
