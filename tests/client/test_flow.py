import asyncio
from collections.abc import Callable

import httpx
import pytest

from client.async_client import AsyncClient
from client.errors import UnknownJob
from client.retries import RetryPolicy
from client.sync_client import Client
from tests.client.answering import Waits, problem

Answer = Callable[[httpx.Request], httpx.Response]


def away(request: httpx.Request) -> httpx.Response:
    raise httpx.ConnectError("refused", request=request)


def without_store(_: httpx.Request) -> httpx.Response:
    return httpx.Response(503, headers={"Retry-After": "5"}, content=problem("jobs-unavailable", "Redis is away"))


def draining(_: httpx.Request) -> httpx.Response:
    return httpx.Response(503, headers={"Retry-After": "60"}, content=problem("draining", "the service stops"))


class Hanging:
    """A service that answers nothing: all time that it is given passes."""

    def __init__(self, waits: Waits) -> None:
        self._waits = waits

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self._waits.append(request.extensions["timeout"]["read"])
        raise httpx.ReadTimeout("timed out", request=request)


@pytest.mark.parametrize(("answer", "retries"), [(away, 5), (without_store, 5), (draining, 5), (None, 5), (None, 0)])
@pytest.mark.parametrize("seconds", [1, 4])
def test_wait_for_a_job_ends_in_time_though_the_service_does_not_answer(
    answer: Answer | None, retries: int, seconds: float
) -> None:
    waits = Waits()
    policy = RetryPolicy(retries=retries, clock=waits.clock)
    transport = httpx.MockTransport(answer or Hanging(waits))
    client = Client("http://here", retry=policy, transport=transport, sleep=waits.append)
    with client, pytest.raises(TimeoutError, match=r"in time|timed out"):
        client.job("one").wait(timeout=seconds)
    assert sum(waits) == pytest.approx(seconds)


def test_wait_of_tasks_ends_in_time_as_well() -> None:
    waits = Waits()

    async def wait() -> None:
        transport, policy = httpx.MockTransport(away), RetryPolicy(clock=waits.clock)
        async with AsyncClient("http://here", retry=policy, transport=transport, sleep=waits.sleep) as client:
            await client.job("one").wait(timeout=4)

    with pytest.raises(TimeoutError, match="did not answer in time"):
        asyncio.run(wait())
    assert sum(waits) == pytest.approx(4)


def test_other_failures_are_told_as_they_are() -> None:
    transport = httpx.MockTransport(lambda _: httpx.Response(404, content=problem("unknown-job", "there is no job")))
    with Client("http://here", transport=transport) as client, pytest.raises(UnknownJob, match="there is no job"):
        client.job("one").wait(timeout=0)
