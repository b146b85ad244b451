import asyncio
import shutil
import ssl
import subprocess
from collections.abc import Callable
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from time import monotonic

import httpx
import pytest

from client.async_client import AsyncClient
from client.errors import ImageRejected, NoAnswer, Overloaded, Problem, ServiceFailed, Unavailable
from client.outage import Outage
from client.request import Request
from client.retries import RetryPolicy, exchange
from client.sync_client import Client
from tests.client.answering import CUT, Answers, Waits, problem, server

UNREACHABLE = "http://127.0.0.1:9"
OPENSSL = shutil.which("openssl")

GET = Request("GET", "/x")


@pytest.fixture
def waits() -> Waits:
    return Waits()


Sends = Callable[..., httpx.Response]


@pytest.fixture(params=["sync", "async"])
def send(request: pytest.FixtureRequest, waits: Waits) -> Sends:
    """Sends a GET with a policy, by either client, and records the pauses instead of waiting."""

    def send_sync(url: str, policy: RetryPolicy, outage: Outage | None = None) -> httpx.Response:
        with Client(url, verify=False, sleep=waits.append) as client:
            return client.run(exchange(GET, policy, outage))

    async def send_async(url: str, policy: RetryPolicy, outage: Outage | None) -> httpx.Response:
        async with AsyncClient(url, verify=False, sleep=waits.sleep) as client:
            return await client.run(exchange(GET, policy, outage))

    def run(url: str, policy: RetryPolicy, outage: Outage | None = None) -> httpx.Response:
        return asyncio.run(send_async(url, policy, outage))

    return send_sync if request.param == "sync" else run


def test_busy_service_is_asked_again_after_as_long_as_it_says(send: Sends, waits: Waits) -> None:
    later = format_datetime(datetime.now(UTC) + timedelta(seconds=30), usegmt=True)
    busy: Answers = [
        (503, {"Retry-After": "7"}, b"{}"),
        (429, {"Retry-After": later}, b""),
        (502, {}, b""),
        (503, {"Retry-After": "soon"}, b""),
        (503, {"Retry-After": "86400"}, b""),
        (200, {}, b"done"),
    ]
    with server(busy) as (url, asked):
        assert send(url, RetryPolicy()).content == b"done"
    assert asked == ["/x"] * 6
    assert waits[0] == 7
    assert 20 < waits[1] <= 30
    assert 0.5 <= waits[2] <= 1
    assert 1 <= waits[3] <= 2
    assert waits[4] == 60


def test_retries_are_limited(send: Sends, waits: Waits) -> None:
    with (
        server([(503, {"Retry-After": "1"}, problem("overloaded", "full"))] * 3) as (url, asked),
        pytest.raises(Overloaded, match="full") as refused,
    ):
        send(url, RetryPolicy(retries=2))
    assert len(asked) == 3
    assert waits == [1, 1]
    assert refused.value.retry_after == 1


def test_call_ends_at_its_deadline_instead_of_waiting_beyond_it(send: Sends, waits: Waits) -> None:
    busy: Answers = [(503, {"Retry-After": "4"}, problem("overloaded", "full"))] * 3
    with server(busy) as (url, asked), pytest.raises(Overloaded, match="full"):
        send(url, RetryPolicy(deadline=10, clock=waits.clock))
    assert len(asked) == 3
    assert waits == [4, 4]


def test_deadline_holds_for_a_service_that_is_away(send: Sends, waits: Waits) -> None:
    with pytest.raises(NoAnswer, match=rf"no answer from {UNREACHABLE}: "):
        send(UNREACHABLE, RetryPolicy(patience=3600, deadline=20, clock=waits.clock))
    assert 10 < sum(waits) < 20


def test_answer_whose_connection_breaks_is_asked_for_again(send: Sends, waits: Waits) -> None:
    with server([(200, {CUT: "1"}, b"hidden"), (200, {}, b"hidden")]) as (url, asked):
        assert send(url, RetryPolicy()).content == b"hidden"
    assert len(asked) == len(waits) + 1 == 2


def test_connection_that_always_breaks_is_no_answer(send: Sends) -> None:
    with (
        server([(200, {CUT: "1"}, b"hidden")] * 3) as (url, asked),
        pytest.raises(NoAnswer, match=r"no answer from http"),
    ):
        send(url, RetryPolicy(retries=2))
    assert len(asked) == 3


def test_final_answers_are_not_retried(send: Sends) -> None:
    with server([(415, {}, problem("unsupported-image", "no"))]) as (url, asked), pytest.raises(ImageRejected):
        send(url, RetryPolicy())
    assert len(asked) == 1


def test_answers_without_a_problem_are_described_by_their_status(send: Sends) -> None:
    with server([(500, {}, b"<html>oops</html>")]) as (url, _), pytest.raises(ServiceFailed, match="HTTP 500"):
        send(url, RetryPolicy())


def test_unreachable_service_is_waited_for_as_long_as_patience_lasts() -> None:
    said: list[str] = []
    outage, began = Outage(0.5, said.append), monotonic()
    with Client(UNREACHABLE, verify=False) as client:
        with pytest.raises(Unavailable, match=rf"no answer from {UNREACHABLE}: .*; gave up after 0\.5 s"):
            client.run(exchange(GET, RetryPolicy(retries=0), outage))
        assert monotonic() - began >= 0.5
        with pytest.raises(Unavailable):
            client.run(exchange(GET, RetryPolicy(), outage))
    assert len(said) == 1
    assert said[0].startswith(f"waiting up to 0.5 s for the service: no answer from {UNREACHABLE}")


def test_without_patience_there_is_no_wait(send: Sends, waits: Waits) -> None:
    said: list[str] = []
    with pytest.raises(Unavailable, match="no answer") as end:
        send(UNREACHABLE, RetryPolicy(), Outage(0, said.append))
    assert isinstance(end.value.__cause__, NoAnswer)
    assert (waits, said) == ([], [])


def test_starting_or_stopping_service_uses_no_retries(send: Sends, waits: Waits) -> None:
    said: list[str] = []
    loading = (503, {"Retry-After": "1"}, problem("model-unavailable", "the models are being loaded"))
    draining = (503, {"Retry-After": "1"}, problem("draining", "stopping"))
    with server([draining] * 5 + [loading] * 5 + [(200, {}, b"done")]) as (url, _):
        assert send(url, RetryPolicy(retries=0), Outage(60, said.append)).content == b"done"
    assert said == ["waiting up to 60 s for the service: stopping"]
    assert waits == [1] * 10


def test_model_that_cannot_be_loaded_is_not_waited_for(send: Sends) -> None:
    broken: Answers = [(503, {}, problem("model-unavailable", "wave could not be loaded"))]
    with server(broken * 2) as (url, _), pytest.raises(Problem, match="could not be loaded"):
        send(url, RetryPolicy(retries=1))


def test_every_answer_ends_an_outage(send: Sends) -> None:
    said: list[str] = []
    outage = Outage(60, said.append)
    with pytest.raises(Problem), server([(502, {}, b""), (400, {}, b"")]) as (url, _):
        send(url, RetryPolicy(), outage)
    with server([(502, {}, b""), (200, {}, b"done")]) as (url, _):
        send(url, RetryPolicy(), outage)
    assert len(said) == 2


def test_image_that_crashes_the_server_is_sent_a_limited_number_of_times(send: Sends) -> None:
    """A connection that ends during a request may have been ended by the image."""
    with server([(502, {}, b"")] * 3) as (url, asked), pytest.raises(ServiceFailed, match="HTTP 502"):
        send(url, RetryPolicy(retries=2))
    assert len(asked) == 3


def test_request_that_cannot_be_sent_is_not_tried_again(send: Sends, waits: Waits) -> None:
    def refuse(request: httpx.Request) -> httpx.Response:
        raise httpx.LocalProtocolError("illegal header")

    with (
        Client("http://here", transport=httpx.MockTransport(refuse), sleep=waits.append) as client,
        pytest.raises(NoAnswer, match="no answer from http://here: illegal header"),
    ):
        client.run(exchange(GET, RetryPolicy()))
    assert waits == []


def test_password_of_an_address_is_not_told() -> None:
    with Client("http://me:secret@127.0.0.1:9", verify=False) as client, pytest.raises(NoAnswer) as end:
        client.run(exchange(GET, RetryPolicy(deadline=0)))
    assert "secret" not in str(end.value)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate of an authority that nobody knows, and its key, in one file."""
    path = tmp_path_factory.mktemp("tls") / "certificate.pem"
    made = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", "-", "-out", "-"]
    named = ["-subj", "/CN=pastiche.example", "-addext", "subjectAltName=IP:127.0.0.1"]
    command = [str(OPENSSL), "req", "-x509", "-days", "1", *made, *named]
    path.write_bytes(subprocess.run(command, check=True, capture_output=True).stdout)
    return path


@pytest.mark.skipif(OPENSSL is None, reason="needs openssl")
@pytest.mark.parametrize("known", [False, True])
def test_certificate_that_is_not_trusted_is_not_waited_for(
    known: bool, certificate: Path, waits: Waits, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By both clients; SSL_CERT_FILE names the authorities that are."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    if known:
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    with server([(200, {}, b""), (200, {}, b"")], context) as (url, asked):
        for ask in (ask_sync, ask_async):
            with nullcontext() if known else pytest.raises(Unavailable, match="certificate verify failed"):
                ask(url, waits)
        assert (waits, len(asked)) == ([], 2 if known else 0)


def ask_sync(url: str, waits: Waits) -> None:
    with Client(url, sleep=waits.append) as client:
        client.run(exchange(GET, RetryPolicy()))


def ask_async(url: str, waits: Waits) -> None:
    async def ask() -> None:
        async with AsyncClient(url, sleep=waits.sleep) as client:
            await client.run(exchange(GET, RetryPolicy()))

    asyncio.run(ask())
