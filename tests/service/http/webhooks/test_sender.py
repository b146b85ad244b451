import asyncio
import ssl
import time
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from service.errors import InvalidRequest
from service.http.job_status import JobStatus
from service.http.webhooks.address_policy import AddressPolicy
from service.http.webhooks.resolver import Resolver
from service.http.webhooks.sender import WebhookSender
from service.jobs.deliveries import DeliveryFailed
from service.jobs.job import Job
from service.jobs.record import Callback, JobOutcome
from service.settings import Settings
from tests.service.http.webhooks.receiver import CERTIFICATE, SECRET, Answer, raw, receiving, status
from tests.service.http.webhooks.test_address_policy import Names
from tests.service.jobs.test_record import RESULT, record
from tests.service.live import settings

HEAD = b"HTTP/1.1 200 OK\r\n"


def secret(root: Path, **options: Any) -> Settings:
    return settings(root, webhook_secret=SECRET, **options)


def sender(root: Path, trusted: str = "127.0.0.1", **options: Any) -> WebhookSender:
    return WebhookSender(secret(root, **options), AddressPolicy(Resolver(), [trusted]))


async def ended(url: str) -> Job:
    job = record("one").model_copy(update={"callback": Callback(url=url, message_id="msg_1")})
    return Job(job, JobOutcome(result=RESULT, tiles=9))


def send(sender: WebhookSender, url: str) -> Job:
    async def run() -> Job:
        job = await ended(url)
        await sender.send(job)
        return job

    return asyncio.run(run())


def test_state_of_the_job_arrives_signed(tmp_path: Path) -> None:
    with receiving() as receiver:
        began = int(time.time())
        job = send(sender(tmp_path), receiver.url)
    (received,) = receiver.received
    assert received.path == "/painted?token=1"
    assert received.is_signed()
    assert not received.is_signed("whsec_" + "A" * 32)
    assert received.headers["webhook-id"] == "msg_1"
    assert began <= int(received.headers["webhook-timestamp"]) <= time.time()
    assert received.headers["Content-Type"] == "application/json"
    assert received.headers["Host"] == f"127.0.0.1:{receiver.port}"
    assert received.headers["User-Agent"].startswith("pastiche/")
    assert JobStatus.model_validate_json(received.body) == JobStatus.of(job, secret(tmp_path).job_seconds)


@pytest.mark.parametrize(("code", "final"), [(500, False), (404, False), (410, True), (304, False)])
def test_status_that_is_no_success_is_a_failure(tmp_path: Path, code: int, final: bool) -> None:
    with receiving([status(code)]) as receiver, pytest.raises(DeliveryFailed, match=str(code)) as failed:
        send(sender(tmp_path), receiver.url)
    assert (failed.value.result, failed.value.final) == ("refused", final)


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
def test_redirect_is_not_followed(tmp_path: Path, code: int) -> None:
    with receiving() as secret_place:
        redirect = status(code, Location=secret_place.url)
        with receiving([redirect]) as receiver, pytest.raises(DeliveryFailed, match=str(code)):
            send(sender(tmp_path), receiver.url)
        assert len(receiver.received) == 1
        assert secret_place.received == []


def silence(handler: BaseHTTPRequestHandler) -> None:
    """Until the connection is closed."""
    handler.rfile.read(1)


@pytest.mark.parametrize(
    "answer",
    [silence, raw(b"nonsense\r\n\r\n"), raw(HEAD, b"X-More: and more\r\n"), raw(b"H"), raw(b"")],
    ids=["silence", "nonsense", "endless head", "cut", "closed"],
)
def test_receiver_that_makes_no_sense_is_a_failure(tmp_path: Path, answer: Answer) -> None:
    for seconds in (2.0, 20.0):  # the first can end before a busy machine has sent the request
        with receiving([answer]) as receiver, pytest.raises(DeliveryFailed) as failed:
            send(sender(tmp_path, webhook_timeout=seconds), receiver.url)
        if receiver.received:
            break
    assert failed.value.result == "unreachable"
    assert len(receiver.received) == 1


def test_body_without_an_end_is_not_read(tmp_path: Path) -> None:
    with receiving([raw(HEAD + b"\r\n", bytes(65536))]) as receiver:
        send(sender(tmp_path), receiver.url)
    assert len(receiver.received) == 1


def test_receiver_that_is_not_there_is_a_failure(tmp_path: Path) -> None:
    with receiving() as receiver:
        pass
    with pytest.raises(DeliveryFailed, match="ConnectError"):
        send(sender(tmp_path), receiver.url)


def test_host_that_is_unknown_for_the_moment_is_tried_again(tmp_path: Path) -> None:
    with pytest.raises(DeliveryFailed, match="no such host") as failed:
        send(secured(tmp_path, []), "https://receiver.example/")
    assert failed.value.result == "unreachable"


def test_address_that_is_not_public_is_not_asked(tmp_path: Path) -> None:
    with receiving(tls=True) as receiver:
        url = f"https://127.0.0.1:{receiver.port}/"
        with pytest.raises(DeliveryFailed, match="no address was found") as failed:
            send(sender(tmp_path, trusted="another.example"), url)
    assert failed.value.result == "blocked"
    assert receiver.received == []


def secured(root: Path, *answers: list[str], trusted: str = "receiver.example") -> WebhookSender:
    """Finds these addresses, and believes the certificate of receiver.example."""
    context = ssl.create_default_context(cafile=str(CERTIFICATE))
    return WebhookSender(secret(root), AddressPolicy(Names(*answers), [trusted]), context)


def test_connection_goes_to_the_address_that_was_checked_and_the_certificate_is_the_hosts(tmp_path: Path) -> None:
    with receiving(tls=True) as receiver:
        url = f"https://receiver.example:{receiver.port}/painted"
        send(secured(tmp_path, ["127.0.0.1"]), url)  # another lookup would have no answer
    (received,) = receiver.received
    assert received.headers["Host"] == f"receiver.example:{receiver.port}"
    assert received.is_signed()


def test_certificate_of_another_host_is_refused(tmp_path: Path) -> None:
    with receiving(tls=True) as receiver:
        url = f"https://other.example:{receiver.port}/"
        with pytest.raises(DeliveryFailed, match="certificate") as failed:
            send(secured(tmp_path, ["127.0.0.1"], trusted="other.example"), url)
    assert failed.value.result == "unreachable"
    assert receiver.received == []


def test_next_address_is_tried_where_one_is_closed(tmp_path: Path) -> None:
    with receiving(tls=True) as receiver:
        send(secured(tmp_path, ["127.0.0.2", "127.0.0.1"]), f"https://receiver.example:{receiver.port}/")
    assert len(receiver.received) == 1


def test_url_is_judged_before_a_job_is_created(tmp_path: Path) -> None:
    public, private = ["1.1.1.1"], ["10.0.0.1"]
    asyncio.run(secured(tmp_path, public).check("https://example.com/"))
    asyncio.run(secured(tmp_path, private).check("http://receiver.example/"))
    for answer, url in ((private, "https://example.com/"), ([], "https://example.com/"), (public, "http://a.example/")):
        with pytest.raises(InvalidRequest, match=r"^header\.X-Callback-URL: (it must|no address was found)"):
            asyncio.run(secured(tmp_path, answer).check(url))
