"""What a step costs: a ratio of alternating measurements, and a column of a page of its own."""

from typing import Any

import pytest

from commands import cost
from stages.report import tables
from tests.parameters import optimizer, small_params
from tests.unit.test_summary import OUTCOMES, compared

PARAMS = small_params({"adam": optimizer(class_name="Adam"), "sgd": optimizer(class_name="SGD")})


def test_a_ratio_is_taken_within_a_round_and_the_median_over_rounds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # The first round compiles; the machine is slower in the next but one, and then disturbed.
    seconds = {
        "adam": iter([99.0, 3.0, 9.0, 80.0]),
        "sgd": iter([55.0, 1.0, 3.0, 2.0]),
        cost.BASELINE: iter([1.0, 2.0, 6.0, 2.0]),
    }
    order: list[str] = []

    def timed(name: Any) -> float:
        order.append(name)
        return next(seconds[name])

    monkeypatch.setattr(cost, "_build_slots", lambda _: {name: name for name in seconds})
    monkeypatch.setattr(cost, "_seconds_per_step", timed)
    assert cost.measure(PARAMS, n_rounds=3) == {"adam": 1.5, "sgd": 0.5}
    assert order == list(seconds) * 4


class Clock:
    """Time passes only while a slot trains."""

    now_s = 0.0

    def perf_counter(self) -> float:
        return self.now_s


class TimedSlot:
    n_train, n_epochs_per_call, n_steps_per_epoch = 8, 3, 4

    def __init__(self, clock: Clock, call_s: float) -> None:
        self._clock, self._call_s, self.n_calls = clock, call_s, 0

    def reset(self, *_: object) -> None: ...

    def train(self, orders: Any) -> list[int]:
        assert orders.shape == (3, 8)
        self._clock.now_s += self._call_s
        self.n_calls += 1
        return [1, 2, 3]


@pytest.mark.parametrize(("call_s", "n_calls"), [(0.06, 1 + 20), (6.0, 1 + 5), (60.0, 1 + 5)])
def test_calls_that_take_long_are_fewer(
    monkeypatch: pytest.MonkeyPatch, call_s: float, n_calls: int
) -> None:
    clock = Clock()
    monkeypatch.setattr(cost, "time", clock)
    slots = {name: TimedSlot(clock, call_s) for name in ("adam", "sgd", cost.BASELINE)}
    monkeypatch.setattr(cost, "_build_slots", lambda _: slots)
    assert cost.measure(PARAMS) == {"adam": 1, "sgd": 1}
    assert {slot.n_calls for slot in slots.values()} == {n_calls}
    slot: Any = slots["adam"]
    assert cost._seconds_per_step(slot) == pytest.approx(call_s / 3 / 4)


def test_only_a_page_with_measured_costs_tells_them() -> None:
    comparison = compared(OUTCOMES)
    costs = {name: 1 + i / 10 for i, name in enumerate(comparison.optimizers)}
    with_costs, without = tables.criteria(comparison, costs), tables.criteria(comparison)
    assert set(with_costs.headers) - set(without.headers) == {"time per step"}
    place = list(with_costs.headers).index("time per step")
    assert [row[place] for row in with_costs.rows] == ["1.00", "1.10", "1.20", "1.30"]
    assert "measured by make cost" in tables.criteria_caption(comparison, costs)
    assert "measured by" not in tables.criteria_caption(comparison)
