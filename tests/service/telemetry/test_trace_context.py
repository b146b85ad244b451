import re

import pytest

from service.telemetry.trace_context import TraceContext

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
VALID = f"00-{TRACE}-{PARENT}-01"


def continued(*headers: tuple[str, str]) -> TraceContext | None:
    traceparents = [value for name, value in headers if name == "traceparent"]
    return TraceContext.continued(traceparents, [value for name, value in headers if name == "tracestate"])


def test_trace_goes_on_with_a_span_of_its_own() -> None:
    one, other = continued(("traceparent", VALID)), continued(("traceparent", VALID))
    assert one is not None
    assert other is not None
    assert (one.trace_id, one.parent_id, one.flags) == (TRACE, PARENT, 1)
    assert re.fullmatch(f"00-{TRACE}-[0-9a-f]{{16}}-01", one.headers()["traceparent"])
    assert len({one.span_id, other.span_id, PARENT}) == 3
    assert "tracestate" not in one.headers()


@pytest.mark.parametrize(
    "offered",
    [
        "",
        VALID.upper(),
        f"ff-{TRACE}-{PARENT}-01",
        f"00-{'0' * 32}-{PARENT}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE[:-1]}-{PARENT}-01",
        f"00-{TRACE}-{PARENT}-1",
        f"{VALID}-extra",
        f"{VALID}01",
        f"01-{TRACE}-{PARENT}-01.extra",
        f"0-{TRACE}-{PARENT}-01",
    ],
)
def test_header_that_is_not_valid_is_no_trace(offered: str) -> None:
    assert continued(("traceparent", offered)) is None


def test_two_headers_are_no_trace() -> None:
    assert continued(("traceparent", VALID), ("traceparent", VALID)) is None
    assert continued() is None


def test_later_version_is_read_as_far_as_it_is_known() -> None:
    context = continued(("traceparent", f"cc-{TRACE}-{PARENT}-03-what-comes"))
    assert context is not None
    assert context.headers()["traceparent"].startswith(f"00-{TRACE}-")
    assert context.headers()["traceparent"].endswith("-01")


@pytest.mark.parametrize(
    ("states", "passed"),
    [
        (["vendor=t61rcWkgMzE,rojo=00f067aa0ba902b7"], "vendor=t61rcWkgMzE,rojo=00f067aa0ba902b7"),
        (["a=1", " b=2 ,, c=3"], "a=1,b=2,c=3"),
        (["tenant@system=x y"], "tenant@system=x y"),
        (["a=1,a=2"], None),
        (["A=1"], None),
        (["a=b=c"], None),
        (["a"], None),
        (["a=é"], None),
        ([",".join(f"k{number}=1" for number in range(33))], None),
        ([",".join(f"k{number}=1" for number in range(32))], ",".join(f"k{number}=1" for number in range(32))),
    ],
)
def test_state_is_passed_on_or_dropped_as_a_whole(states: list[str], passed: str | None) -> None:
    context = continued(("traceparent", VALID), *(("tracestate", state) for state in states))
    assert context is not None
    assert context.headers().get("tracestate") == passed
