import asyncio

import pytest

from client.async_client import AsyncClient
from client.errors import ImageRejected, PasticheError, Problem
from client.exchange import RefusedForAll, send_image
from client.outage import Outage
from client.picture import Picture
from client.request import Request
from client.retries import RetryPolicy
from tests.client.answering import Answers, problem, server


def refusal(kind: str, detail: str) -> bytes:
    """The body of a refusal; of a proxy, which knows no problems, where the kind is empty."""
    return problem(kind, detail) if kind else detail.encode()


def send(url: str, query: dict[str, str] | None = None) -> Picture:
    async def run() -> Picture:
        async with AsyncClient(url, verify=False) as client:
            request = Request("POST", "/x", query or {}, content=b"image")
            return await send_image(client, request, RetryPolicy(), Outage(0))

    return asyncio.run(run())


def test_picture_is_returned_with_its_type() -> None:
    with server([(200, {"Content-Type": "image/webp"}, b"done")]) as (url, asked):
        picture = send(url, {"quality": "80"})
    assert (picture.bytes, picture.media_type) == (b"done", "image/webp")
    assert asked == ["/x?quality=80"]


@pytest.mark.parametrize(
    ("status", "kind", "failure"),
    [
        (415, "unsupported-image", ImageRejected),
        (404, "unknown-model", RefusedForAll),
        (404, "not-found", RefusedForAll),
        (404, "", RefusedForAll),
        (401, "unauthorized", RefusedForAll),
        (401, "", RefusedForAll),
        (403, "forbidden", RefusedForAll),
        (405, "method-not-allowed", RefusedForAll),
        (421, "unknown-host", RefusedForAll),
    ],
)
def test_final_answers_are_not_retried(status: int, kind: str, failure: type[PasticheError]) -> None:
    answers: Answers = [(status, {}, refusal(kind, "no"))]
    with server(answers) as (url, asked), pytest.raises(PasticheError, match=f"no|HTTP {status}") as end:
        send(url)
    assert type(end.value) is failure
    assert len(asked) == 1


@pytest.mark.parametrize(
    ("probe_answer", "for_all"),
    [
        ((422, {}, problem("invalid-request", "no")), True),
        ((422, {}, problem("invalid-request", "no, it is 1×1")), False),
        ((503, {"Retry-After": "1"}, problem("overloaded", "full")), False),
        ((503, {"Retry-After": "1"}, problem("draining", "stopping")), False),
        ((200, {}, b"done"), False),
    ],
)
def test_refusal_holds_for_all_images_if_the_probe_image_gets_the_same_problem(
    probe_answer: tuple[int, dict[str, str], bytes], for_all: bool
) -> None:
    answers: Answers = [(422, {}, problem("invalid-request", "no")), probe_answer]
    with server(answers) as (url, asked), pytest.raises(PasticheError, match="no") as end:
        send(url, {"width": "9"})
    assert isinstance(end.value, RefusedForAll) is for_all
    assert isinstance(end.value.__cause__ if for_all else end.value, Problem)
    assert asked == ["/x?width=9"] * 2


def test_another_address_holds_for_all_images() -> None:
    answers: Answers = [(308, {"Location": "https://there/x"}, b"")]
    with server(answers) as (url, asked), pytest.raises(RefusedForAll, match="the service is at https://there/x"):
        send(url)
    assert len(asked) == 1


@pytest.mark.parametrize(("probe_answer", "for_all"), [((403, {}, b"blocked"), True), ((200, {}, b"done"), False)])
def test_a_proxy_that_forbids_an_image_may_allow_others(
    probe_answer: tuple[int, dict[str, str], bytes], for_all: bool
) -> None:
    with server([(403, {}, b"blocked"), probe_answer]) as (url, _), pytest.raises(PasticheError) as end:
        send(url)
    assert isinstance(end.value, RefusedForAll) is for_all
