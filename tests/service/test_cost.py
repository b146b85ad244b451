import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.cost import LARGEST_SURPRISE, MEMORY, Cost


def test_line_is_fitted_to_the_passes() -> None:
    cost = Cost.fitted([(1000, 0.03), (5000, 0.07), (9000, 0.11)])
    assert cost.seconds(0) == pytest.approx(0.02)
    assert cost.seconds(20_000) == pytest.approx(0.22)


def test_line_is_that_of_least_squares() -> None:
    cost = Cost.fitted([(0, 1.0), (1, 3.0), (2, 2.0), (3, 4.0)])
    assert cost.seconds(0) == pytest.approx(1.3)
    assert cost.seconds(10) == pytest.approx(9.3)


@pytest.mark.parametrize(
    "passes",
    [
        [(1000, 0.05), (4000, 0.05)],
        [(1000, 0.06), (4000, 0.03)],
        [(1000, 0.01), (4000, 0.09)],
        [(1000, 0.05)],
        [(1000, 0.05), (1000, 0.05)],
    ],
    ids=["flat", "falling", "below zero at zero", "one pass", "one size"],
)
def test_what_makes_no_sense_becomes_a_price_per_pixel(passes: list[tuple[int, float]]) -> None:
    cost = Cost.fitted(passes)
    mean = sum(seconds for _, seconds in passes) / sum(pixels for pixels, _ in passes)
    assert cost.seconds(0) == 0
    assert cost.seconds(10**6) == pytest.approx(mean * 10**6)


@given(st.lists(st.tuples(st.integers(1, 10**7), st.floats(1e-6, 100)), min_size=1, max_size=5))
def test_predictions_are_positive_and_never_fall(passes: list[tuple[int, float]]) -> None:
    cost = Cost.fitted(passes)
    assert 0 <= cost.seconds(0) <= cost.seconds(1000) <= cost.seconds(10**6) < math.inf
    assert cost.seconds(1) > 0


def test_all_lanes_together_are_faster() -> None:
    cost = Cost(0.1, 0.001, speed_up=1.6)
    assert cost.seconds(900) == pytest.approx(1.0)
    assert cost.seconds(900, alone=True) == pytest.approx(1 / 1.6)


def test_several_passes_take_the_sum_of_their_times() -> None:
    cost = Cost(0.1, 0.001)
    assert cost.seconds(400 + 900, 2) == pytest.approx(cost.seconds(400) + cost.seconds(900))
    assert cost.seconds(300, 0.5) == pytest.approx(cost.seconds(600) / 2)
    cost.measured(1300, 3.0, 2)
    assert cost.seconds(1300, 2) == pytest.approx(1.5 * 2 ** (1 - MEMORY))


@pytest.mark.parametrize("factor", [0.3, 3.0])
@pytest.mark.parametrize("alone", [False, True])
def test_predictions_follow_the_device(factor: float, alone: bool) -> None:
    cost = Cost(0.1, 0.001)
    for _ in range(60):
        cost.measured(400, 0.5 * factor, alone=alone)
    assert cost.seconds(400, alone=alone) == pytest.approx(0.5 * factor, rel=1e-3)
    assert cost.seconds(900, alone=alone) == pytest.approx(1.0 * factor, rel=1e-3)
    assert cost.seconds(400, alone=not alone) == pytest.approx(0.5)


def test_one_pass_moves_the_prediction_by_its_share() -> None:
    cost = Cost(0.0, 0.001)
    cost.measured(1000, 2.0)
    assert cost.seconds(1000) == pytest.approx(2 ** (1 - MEMORY))


@pytest.mark.parametrize("seconds", [0.0, 1e9])
def test_one_interrupted_pass_does_not_spoil_the_predictions(seconds: float) -> None:
    cost = Cost(0.0, 0.001)
    cost.measured(1000, seconds)
    assert abs(math.log(cost.seconds(1000))) == pytest.approx((1 - MEMORY) * LARGEST_SURPRISE)


def test_cost_that_is_not_known_stays_so() -> None:
    cost = Cost(0.0, 0.0)
    cost.measured(1000, 1.0)
    assert cost.seconds(1000) == 0


def test_copy_is_corrected_by_itself() -> None:
    cost = Cost(0.1, 0.001, speed_up=2.0)
    other = cost.copy()
    assert other.seconds(100, alone=True) == cost.seconds(100, alone=True) == pytest.approx(0.1)
    other.measured(100, 0.4)
    assert other.seconds(100) > cost.seconds(100) == pytest.approx(0.2)
