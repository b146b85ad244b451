import http.server
import re
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from service.app import build_service
from tests.service.imaging.images import file, photo
from tests.service.live import publish, serving, settings, wait_for, worker_launcher

pytest.importorskip("opentelemetry.sdk")

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1 import trace_pb2
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from service.telemetry.otlp import OpenTelemetry
from service.telemetry.tracing import Stage

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
VALID = f"00-{TRACE}-{PARENT}-01"


def recorded(*traceparents: str, stages: tuple[Stage, ...] = (), failed: bool = False) -> dict[str, ReadableSpan]:
    """The spans of one request, by name."""
    exporter = InMemorySpanExporter()
    tracing = OpenTelemetry(exporter)
    span = tracing.begin(traceparents, ["a=1"])
    assert span.context is not None
    span.end("POST /v1/stylize/{style}", {"pastiche.model": "wave@1"}, stages, failed=failed)
    tracing.close()
    found = {found.name: found for found in exporter.get_finished_spans()}
    own = found.get("POST /v1/stylize/{style}")
    assert own is None or f"{own.context.span_id:016x}" == span.context.span_id
    return found


def test_request_is_a_child_of_the_clients_span_and_its_stages_are_its_children() -> None:
    spans = recorded(VALID, stages=(Stage("decode", 0.5, 0.75), Stage("infer", 1.0, 3.0)))
    own = spans.pop("POST /v1/stylize/{style}")
    assert own.parent is not None
    assert (f"{own.context.trace_id:032x}", f"{own.parent.span_id:016x}") == (TRACE, PARENT)
    assert own.attributes == {"pastiche.model": "wave@1"}
    assert own.resource.attributes["service.name"] == "pastiche"
    assert own.status.status_code is StatusCode.UNSET
    assert own.start_time is not None
    places = {name: (span.start_time or 0, span.end_time or 0) for name, span in spans.items()}
    begin = own.start_time
    assert places["decode"] == (begin + 500_000_000, begin + 750_000_000)
    assert places["infer"] == (begin + 1_000_000_000, begin + 3_000_000_000)
    assert all(span.parent == own.context for span in spans.values())


@pytest.mark.parametrize("traceparents", [(), ("no trace",), (VALID, VALID)])
def test_request_without_a_trace_begins_one(traceparents: tuple[str, ...]) -> None:
    (own,) = recorded(*traceparents).values()
    assert own.parent is None
    assert f"{own.context.trace_id:032x}" != TRACE


def test_request_whose_client_does_not_sample_is_passed_on_unrecorded() -> None:
    assert recorded(VALID.removesuffix("01") + "00") == {}


def test_failure_is_an_error() -> None:
    (own,) = recorded(VALID, failed=True).values()
    assert own.status.status_code is StatusCode.ERROR


def test_headers_and_facts_name_the_span() -> None:
    context = OpenTelemetry(InMemorySpanExporter()).begin([VALID], ["a=1"]).context
    assert context is not None
    assert context.headers() == {"traceparent": f"00-{TRACE}-{context.span_id}-01", "tracestate": "a=1"}
    assert context.facts() == {"trace_id": TRACE, "span_id": context.span_id, "parent_id": PARENT}
    root = OpenTelemetry(InMemorySpanExporter()).begin([], []).context
    assert root is not None
    assert root.facts().keys() == {"trace_id", "span_id"}


@contextmanager
def collector() -> Iterator[tuple[str, list[ExportTraceServiceRequest]]]:
    """A collector on this machine: its address, and what it was sent."""
    received: list[ExportTraceServiceRequest] = []

    class Collect(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            assert self.path == "/v1/traces"
            content = self.rfile.read(int(self.headers["Content-Length"]))
            received.append(ExportTraceServiceRequest.FromString(content))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (the base class's name)
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Collect) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", received
        server.shutdown()
        thread.join()


def test_job_is_a_child_of_the_request_that_created_it(tmp_path: Path) -> None:
    publish(tmp_path)
    headers = {"traceparent": VALID, "Prefer": "respond-async"}
    with collector() as (address, received):
        with serving(tmp_path, otlp_endpoint=address) as live:
            assert live.client.post("/v1/stylize/wave", content=file(photo()), headers=headers).status_code == 202
            wait_for(lambda: live.metric("pastiche_jobs_ended_total"), lambda ended: ended == 1)
        spans = {span.name: span for span in all_spans(received)}
    job = spans["job"]
    assert job.trace_id.hex() == TRACE
    assert job.parent_span_id == spans["POST /v1/stylize/{style}"].span_id
    assert {name for name, span in spans.items() if span.parent_span_id == job.span_id} >= {"decode", "infer", "encode"}


def all_spans(received: Sequence[ExportTraceServiceRequest]) -> list[trace_pb2.Span]:
    """Every span that a collector was sent."""
    groups = [group for sent in received for spans in sent.resource_spans for group in spans.scope_spans]
    return [span for group in groups for span in group.spans]


def test_collector_gets_a_request_with_its_stages_and_no_probe(tmp_path: Path) -> None:
    publish(tmp_path)
    with collector() as (address, received), serving(tmp_path, otlp_endpoint=address) as live:
        answer = live.client.post("/v1/stylize/wave", content=file(photo()), headers={"traceparent": VALID})
    spans = {span.name: span for span in all_spans(received)}
    assert spans.keys() == {"POST /v1/stylize/{style}", "read", "decode", "queue", "infer", "encode"}
    own = spans["POST /v1/stylize/{style}"]
    assert own.trace_id.hex() == TRACE
    assert answer.headers["traceparent"] == f"00-{TRACE}-{own.span_id.hex()}-01"
    attributes = {attribute.key: attribute.value for attribute in own.attributes}
    assert attributes["http.response.status_code"].int_value == 200
    assert attributes["pastiche.request.id"].string_value == answer.headers["X-Request-ID"]
    assert attributes["pastiche.model"].string_value == "wave@1"
    for name in ("read", "decode", "queue", "infer", "encode"):
        stage = spans[name]
        assert stage.parent_span_id == own.span_id
        assert own.start_time_unix_nano <= stage.start_time_unix_nano <= stage.end_time_unix_nano


def test_probe_behind_a_prefix_is_not_told(tmp_path: Path) -> None:
    options = {"root_path": "/pastiche"}
    with collector() as (address, received), serving(tmp_path, otlp_endpoint=address, **options) as live:
        answers = [live.client.get(f"/pastiche{path}") for path in ("/livez", "/metrics", "/v1/models")]
    assert [answer.status_code for answer in answers] == [200] * 3
    assert {span.name for span in all_spans(received)} == {"GET /v1/models"}


def test_service_runs_without_the_extra_and_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    monkeypatch.delitem(sys.modules, "service.telemetry.otlp")
    publish(tmp_path)
    with serving(tmp_path) as live:
        answer = live.client.post("/v1/stylize/wave", content=file(photo()), headers={"traceparent": VALID})
    assert answer.headers["traceparent"].startswith(f"00-{TRACE}-")
    with pytest.raises(ValueError, match=re.escape("needs OpenTelemetry: pip install 'pastiche[otel]'")):
        build_service(settings(tmp_path, otlp_endpoint="http://127.0.0.1:4318"), launcher=worker_launcher())
