from service.telemetry.tracing import Propagation

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


def test_trace_of_the_client_goes_on_and_there_is_none_without() -> None:
    propagation = Propagation()
    span = propagation.begin([f"00-{TRACE}-{PARENT}-01"], [])
    assert span.context is not None
    assert (span.context.trace_id, span.context.parent_id) == (TRACE, PARENT)
    assert propagation.begin([], []).context is None
    span.end("GET /", {}, [], failed=False)
    propagation.close()
