"""What the table of an overload is computed from."""

import math

import pytest

from benchmarks.load import Answer, Kind, Outcome
from benchmarks.overload import DeviceTime, _check_overloaded, _goodput, _refusals, _wasted_share


def outcome(*kinds: Kind, elapsed: float = 10.0) -> Outcome:
    """Answers of these kinds, of which each took a second longer than the one before."""
    return Outcome(tuple(Answer(kind, 0.0, 1.0 + i, 0, 0) for i, kind in enumerate(kinds)), elapsed, cpu=0.0)


def test_device_time_is_a_difference_where_the_server_tells() -> None:
    assert DeviceTime(5.0, 2.0).since(DeviceTime(1.5, None)) == DeviceTime(3.5, 2.0)
    assert DeviceTime(5.0, None).since(DeviceTime(1.5, None)) == DeviceTime(3.5, None)


def test_goodput_is_pictures_per_second_of_the_overload() -> None:
    found = _goodput(outcome("ok", "ok", "refused"), outcome("ok", "ok", "ok", "ok", "ok"), seconds=4.0)
    assert (found["goodput /s"], found["of capacity"], found["p50 ms"]) == (0.5, 1.0, 1000)


def test_share_of_no_capacity_is_none() -> None:
    assert math.isnan(_goodput(outcome("refused"), outcome("refused", "failed"), seconds=4.0)["of capacity"])


@pytest.mark.parametrize(("kinds", "told"), [(("ok", "ok"), True), (("ok", "refused"), False), (("timeout",), False)])
def test_load_that_is_no_overload_is_told(
    kinds: tuple[Kind, ...], told: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    _check_overloaded(outcome(*kinds), 8)
    assert ("8 clients are no overload" in capsys.readouterr().out) == told


def test_wasted_device_time_is_a_share() -> None:
    found = _wasted_share(DeviceTime(10.0, 2.0), DeviceTime(4.0, 0.0), painted=6, painted_in_calm=4)
    assert found == {"wasted": 0.2, "wasted by our count": pytest.approx(0.4)}


@pytest.mark.parametrize("calm", [DeviceTime(None, None), DeviceTime(0.0, 0.0)])
def test_nothing_is_wasted_where_nothing_was_told(calm: DeviceTime) -> None:
    assert _wasted_share(DeviceTime(10.0, 2.0), calm, 6, 4) == {"wasted": None, "wasted by our count": None}


def test_refusals_and_failures_are_counted_apart() -> None:
    found = _refusals(outcome("ok", "refused", "refused", "timeout", "expired", "failed", "failed"))
    assert (found["refused"], found["refusal p50 ms"], found["refusal p95 ms"]) == (2, 2500, 3000)
    assert (found["timeouts"], found["expired"], found["failed"]) == (1, 1, 2)
    assert math.isnan(_refusals(outcome("ok"))["refusal p50 ms"])
