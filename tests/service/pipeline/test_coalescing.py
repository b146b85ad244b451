import asyncio
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from service.errors import DeadlineExceeded, Overloaded, ServiceError
from service.pipeline import coalescing
from service.pipeline.coalescing import RequestCoalescer
from service.pipeline.resolve import Timeout
from service.pipeline.trace import Trace
from service.telemetry.metrics import Metrics
from tests.service.http.routes.test_images import leaving
from tests.service.imaging.images import file, photo
from tests.service.live import Live, held, publish, serving, wait_for


def post(live: Live, content: bytes, query: str = "", **headers: str) -> httpx.Response:
    """A client of its own, so that several can wait at the same time."""
    return httpx.post(f"{live.url}/v1/stylize/wave{query}", content=content, headers=headers, timeout=60)


class Pipeline:
    """Runs wait, and then fail with what `fail` was called with."""

    def __init__(self) -> None:
        self.runs: list[asyncio.Future[Any]] = []

    async def run(self, _request: object, _image: bytes, trace: Trace) -> Any:
        future = asyncio.get_running_loop().create_future()
        self.runs.append(future)
        trace.inferences.append(future)  # type: ignore[arg-type]
        return await future

    async def fail(self, error: ServiceError) -> None:
        self.runs[-1].set_exception(error)
        await settle()


class Clients:
    """Of one image, each with a timeout of its own."""

    def __init__(self) -> None:
        self.pipeline = Pipeline()
        self._coalescer = RequestCoalescer(self.pipeline, "build", Metrics())  # type: ignore[arg-type]

    async def ask(self, *timeouts: Timeout) -> list[asyncio.Task[Any]]:
        tasks = [asyncio.create_task(self._ask(patience)) for patience in timeouts]
        await settle()
        return tasks

    async def _ask(self, patience: Timeout) -> None:
        model = SimpleNamespace(name="wave", manifest=SimpleNamespace(version=1))
        trace = Trace("id")
        try:
            await self._coalescer.run(SimpleNamespace(timeout=patience, model=model), b"", trace)  # type: ignore[arg-type]
        finally:
            assert len(trace.inferences) == 1


async def settle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


def with_clients(monkeypatch: pytest.MonkeyPatch, scenario: Callable[[Clients], Awaitable[None]]) -> None:
    async def main() -> None:
        await scenario(Clients())

    monkeypatch.setattr(coalescing, "request_fingerprint", lambda *_: "equal")
    asyncio.run(main())


def errors(tasks: Sequence[asyncio.Task[Any]]) -> list[BaseException | None]:
    return [task.exception() for task in tasks]


def coalesced(live: Live, count: int) -> None:
    wait_for(lambda: live.metric("pastiche_cache_requests_total", result="coalesced"), lambda seen: seen == count)


def test_identical_requests_in_flight_are_computed_once(tmp_path: Path) -> None:
    publish(tmp_path)
    with serving(tmp_path) as live, ThreadPoolExecutor(8) as clients:
        with held(live):
            same = [clients.submit(post, live, file(photo())) for _ in range(5)]
            other = clients.submit(post, live, file(photo()), "?format=webp")
            coalesced(live, 4)
            wait_for(lambda: live.metric("pastiche_admitted_requests"), lambda admitted: admitted == 2)
        answers = [answer.result() for answer in same]
        assert {answer.status_code for answer in answers} == {other.result().status_code} == {200}
        assert len({answer.content for answer in answers}) == len({answer.headers["ETag"] for answer in answers}) == 1
        assert other.result().headers["ETag"] != answers[0].headers["ETag"]
        timings = sorted("shared;dur=" in answer.headers["Server-Timing"] for answer in answers)
        assert timings == [False, True, True, True, True]
        assert live.metric("pastiche_batch_size_count") == 2
        assert live.metric("pastiche_cache_requests_total", result="miss") == 2
        assert post(live, file(photo())).headers["ETag"] == answers[0].headers["ETag"]
        assert live.metric("pastiche_batch_size_count") == 3  # coalescing remembers nothing


def test_one_that_leaves_takes_nothing_from_the_others(tmp_path: Path) -> None:
    publish(tmp_path)
    with serving(tmp_path) as live, ThreadPoolExecutor(1) as clients:
        with held(live):
            with leaving(live, file(photo())):
                wait_for(lambda: live.metric("pastiche_admitted_requests"), lambda admitted: admitted == 1)
                stays = clients.submit(post, live, file(photo()))
                coalesced(live, 1)
            wait_for(lambda: live.metric("pastiche_http_requests_total", code="499"), lambda left: left == 1)
            assert live.metric("pastiche_admitted_requests") == 1
        assert stays.result().status_code == 200
        assert live.metric("pastiche_batch_size_count") == 1


def test_work_ends_when_the_last_one_has_left(tmp_path: Path) -> None:
    publish(tmp_path)
    with serving(tmp_path) as live:
        with held(live):
            with leaving(live, file(photo())):
                wait_for(lambda: live.metric("pastiche_admitted_requests"), lambda admitted: admitted == 1)
                with leaving(live, file(photo())):
                    coalesced(live, 1)
            wait_for(lambda: live.metric("pastiche_http_requests_total", code="499"), lambda left: left == 2)
            assert live.metric("pastiche_admitted_requests") == 0
        assert post(live, file(photo())).status_code == 200


def test_patient_request_outlasts_an_impatient_one_that_it_joined(tmp_path: Path) -> None:
    publish(tmp_path)
    with serving(tmp_path) as live, ThreadPoolExecutor(2) as clients:
        with held(live):
            hurried: Future[httpx.Response] = clients.submit(post, live, file(photo()), **{"X-Request-Timeout": "5"})
            wait_for(lambda: live.metric("pastiche_admitted_requests"), lambda admitted: admitted == 1)
            patient = clients.submit(post, live, file(photo()))
            coalesced(live, 1)
            assert hurried.result().status_code == 504
            assert not patient.done()
        assert patient.result().status_code == 200


def test_impatient_request_does_not_wait_for_a_patient_one(tmp_path: Path) -> None:
    publish(tmp_path)
    with serving(tmp_path) as live, ThreadPoolExecutor(1) as clients:
        with held(live):
            patient = clients.submit(post, live, file(photo()))
            wait_for(lambda: live.metric("pastiche_admitted_requests"), lambda admitted: admitted == 1)
            hurried = post(live, file(photo()), **{"X-Request-Timeout": "0.3"})
            ended = (503, "/problems/overloaded"), (504, "/problems/deadline-exceeded")  # 503: on a busy machine
            assert (hurried.status_code, hurried.json()["type"]) in ended
        assert patient.result().status_code == 200


def test_coalescing_can_be_switched_off(tmp_path: Path) -> None:
    publish(tmp_path)
    with serving(tmp_path, coalesce=False) as live, ThreadPoolExecutor(2) as clients:
        with held(live):
            answers = [clients.submit(post, live, file(photo())) for _ in range(2)]
            wait_for(lambda: live.metric("pastiche_admitted_requests"), lambda admitted: admitted == 2)
        assert answers[0].result().content == answers[1].result().content
        assert live.metric("pastiche_batch_size_count") == 2


@pytest.mark.parametrize("timeout", [Timeout(60, named=1e-3), Timeout(1e-3)], ids=["named", "default"])
def test_request_that_joined_another_one_waits_no_longer_than_its_timeout(
    monkeypatch: pytest.MonkeyPatch, timeout: Timeout
) -> None:
    async def scenario(clients: Clients) -> None:
        (patient,) = await clients.ask(Timeout(60))
        (joined,) = await clients.ask(timeout)
        with pytest.raises(DeadlineExceeded):
            await asyncio.wait_for(joined, 10)
        assert not patient.done()
        assert len(clients.pipeline.runs) == 1
        patient.cancel()

    with_clients(monkeypatch, scenario)


@pytest.mark.parametrize("error", [Overloaded("full", retry_after=1), DeadlineExceeded("late")])
@pytest.mark.parametrize("named", [None, 60.0])
def test_equal_requests_fail_together(
    monkeypatch: pytest.MonkeyPatch, error: ServiceError, named: float | None
) -> None:
    async def scenario(clients: Clients) -> None:
        tasks = [task for _ in range(5) for task in await clients.ask(Timeout(60, named))]
        await clients.pipeline.fail(error)
        assert all(task.done() for task in tasks)
        assert errors(tasks) == [error] * 5
        assert len(clients.pipeline.runs) == 1

    with_clients(monkeypatch, scenario)


@pytest.mark.parametrize(
    ("error", "hurried", "patient"),
    [
        (DeadlineExceeded("late"), {"named": 5}, {}),
        (DeadlineExceeded("late"), {"named": 5}, {"named": 20}),
        (Overloaded("full", retry_after=1), {"named": 5}, {}),
        (Overloaded("it would leave", retry_after=1), {"grace": 500}, {"named": 20}),
        (Overloaded("full", retry_after=1), {}, {"admitted_before": True}),
    ],
)
def test_requests_that_may_fare_better_begin_one_run_more(
    monkeypatch: pytest.MonkeyPatch, error: ServiceError, hurried: dict[str, Any], patient: dict[str, Any]
) -> None:
    async def scenario(clients: Clients) -> None:
        (first,) = await clients.ask(Timeout(60, **hurried))
        others = await clients.ask(*(Timeout(60, **patient) for _ in range(3)))
        await clients.pipeline.fail(error)
        assert errors([first]) == [error]
        assert not any(task.done() for task in others)
        assert len(clients.pipeline.runs) == 2
        await clients.pipeline.fail(error)
        assert errors(others) == [error] * 3
        assert len(clients.pipeline.runs) == 2

    with_clients(monkeypatch, scenario)


def test_run_after_another_one_gets_the_time_that_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(clients: Clients) -> None:
        await clients.ask(Timeout(60, named=0.1))
        (patient,) = await clients.ask(Timeout(0.2))
        await clients.pipeline.fail(DeadlineExceeded("late"))
        with pytest.raises(DeadlineExceeded, match=r"not ready in 0\.2 s"):
            await patient
        assert clients.pipeline.runs[-1].done()

    with_clients(monkeypatch, scenario)
