import pytest

from service.pipeline.trace import Trace


def test_stages_are_timed_also_when_they_fail() -> None:
    trace = Trace("id")
    assert trace.last_stage == "before"
    with trace.stage("read"):
        pass
    with pytest.raises(ValueError, match="bad"), trace.stage("decode"):
        raise ValueError("bad")
    assert trace.last_stage == "decode"
    assert list(trace.durations) == ["read", "decode"]
    assert trace.server_timing() == "read;dur={:.1f}, decode;dur={:.1f}".format(
        *(seconds * 1000 for seconds in trace.durations.values())
    )


def test_stages_have_their_place_in_the_request() -> None:
    clock = iter([100.0, 101.0, 103.0, 110.0])
    trace = Trace("id", clock=lambda: next(clock))
    with trace.stage("decode"):
        pass
    trace.add({"queue": 2.0, "infer": 4.0})
    assert trace.stages == [("decode", 1.0, 3.0), ("queue", 4.0, 6.0), ("infer", 6.0, 10.0)]
    assert trace.durations == {"decode": 2.0, "queue": 2.0, "infer": 4.0}


def test_blocks_of_a_stage_side_by_side_count_once() -> None:
    clock = iter([0.0, 5.0, 15.0, 100.0, 185.0])
    trace = Trace("id", clock=lambda: next(clock))
    with trace.stage("encode"), trace.stage("encode"):
        pass
    with trace.stage("decode"), trace.stage("decode"):
        pass
    assert trace.durations == {"encode": 10.0, "decode": 85.0}
