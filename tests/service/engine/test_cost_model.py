import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.engine.cost_model import LARGEST_SURPRISE, SMOOTHING, CostModel


def test_line_is_fitted_to_the_batches() -> None:
    cost = CostModel.fit([(1000, 0.03), (5000, 0.07), (9000, 0.11)])
    assert cost.seconds(0) == pytest.approx(0.02)
    assert cost.seconds(20_000) == pytest.approx(0.22)


def test_line_is_that_of_least_squares() -> None:
    cost = CostModel.fit([(0, 1.0), (1, 3.0), (2, 2.0), (3, 4.0)])
    assert cost.seconds(0) == pytest.approx(1.3)
    assert cost.seconds(10) == pytest.approx(9.3)


@pytest.mark.parametrize(
    "batches",
    [
        [(1000, 0.05), (4000, 0.05)],
        [(1000, 0.06), (4000, 0.03)],
        [(1000, 0.01), (4000, 0.09)],
        [(1000, 0.05)],
        [(1000, 0.05), (1000, 0.05)],
    ],
    ids=["flat", "falling", "below zero at zero", "one batch", "one size"],
)
def test_what_makes_no_sense_becomes_a_price_per_pixel(batches: list[tuple[int, float]]) -> None:
    cost = CostModel.fit(batches)
    mean = sum(seconds for _, seconds in batches) / sum(pixels for pixels, _ in batches)
    assert cost.seconds(0) == 0
    assert cost.seconds(10**6) == pytest.approx(mean * 10**6)


@given(st.lists(st.tuples(st.integers(1, 10**7), st.floats(1e-6, 100)), min_size=1, max_size=5))
def test_predictions_are_positive_and_never_fall(batches: list[tuple[int, float]]) -> None:
    cost = CostModel.fit(batches)
    assert 0 <= cost.seconds(0) <= cost.seconds(1000) <= cost.seconds(10**6) < math.inf
    assert cost.seconds(1) > 0


def test_exclusive_batch_is_faster() -> None:
    cost = CostModel(0.1, 0.001, speed_up=1.6)
    assert cost.seconds(900) == pytest.approx(1.0)
    assert cost.seconds(900, exclusive=True) == pytest.approx(1 / 1.6)


def test_several_batches_take_the_sum_of_their_times() -> None:
    cost = CostModel(0.1, 0.001)
    assert cost.seconds(400 + 900, 2) == pytest.approx(cost.seconds(400) + cost.seconds(900))
    assert cost.seconds(300, 0.5) == pytest.approx(cost.seconds(600) / 2)
    cost.update(1300, 3.0, 2)
    assert cost.seconds(1300, 2) == pytest.approx(1.5 * 2 ** (1 - SMOOTHING))


@pytest.mark.parametrize("factor", [0.3, 3.0])
@pytest.mark.parametrize("exclusive", [False, True])
def test_predictions_follow_the_device(factor: float, exclusive: bool) -> None:
    cost = CostModel(0.1, 0.001)
    for _ in range(60):
        cost.update(400, 0.5 * factor, exclusive=exclusive)
    assert cost.seconds(400, exclusive=exclusive) == pytest.approx(0.5 * factor, rel=1e-3)
    assert cost.seconds(900, exclusive=exclusive) == pytest.approx(1.0 * factor, rel=1e-3)
    assert cost.seconds(400, exclusive=not exclusive) == pytest.approx(0.5)


def test_one_batch_moves_the_prediction_by_its_share() -> None:
    cost = CostModel(0.0, 0.001)
    cost.update(1000, 2.0)
    assert cost.seconds(1000) == pytest.approx(2 ** (1 - SMOOTHING))


@pytest.mark.parametrize("seconds", [0.0, 1e9])
def test_one_interrupted_batch_does_not_spoil_the_predictions(seconds: float) -> None:
    cost = CostModel(0.0, 0.001)
    cost.update(1000, seconds)
    assert abs(math.log(cost.seconds(1000))) == pytest.approx((1 - SMOOTHING) * LARGEST_SURPRISE)


def test_cost_that_is_not_known_stays_so() -> None:
    cost = CostModel(0.0, 0.0)
    cost.update(1000, 1.0)
    assert cost.seconds(1000) == 0
