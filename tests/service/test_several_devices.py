"""The service on several devices at once: here the processor twice or thrice, each time with a runner of its own."""

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import httpx
import numpy as np
import pytest
import torch

from service.errors import DeviceLost
from tests.networks import network
from tests.service.engine.runners import GONE
from tests.service.imaging.images import file, photo
from tests.service.live import PATIENCE, STYLE, Live, held, pixels, publish, running, settings, wait_for

PICTURES = [file(photo(seed, 30 + seed, 40)) for seed in range(12)]
PATHS = ("/v1/stylize/wave", "/v1/stylize/thumb")
REQUESTS = 40
MANY_TILES = {"tile_values": 2**15}

post = partial(httpx.post, timeout=PATIENCE)


@contextmanager
def serving(root: Path, *devices: torch.device, request_timeout: float = 600) -> Iterator[Live]:
    publish(root, "wave", network(STYLE))
    publish(root, "thumb", network(STYLE, norm="thumbnail", seed=1))
    chosen = settings(
        root, max_queue_requests=2 * REQUESTS, coalesce=False, request_timeout=request_timeout, **MANY_TILES
    )
    with running(chosen, devices=devices) as live:
        live.until("/readyz", lambda answer: len(answer.json()["models"]) == 2)
        yield live


def cpus(count: int) -> list[torch.device]:
    """The processor so many times, under different names."""
    return [torch.device("cpu", number) for number in range(count)]


def fail(live: Live, device: int, after: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """One device fails in its next batch but `after`, and from then on."""
    backend = live.service.pool.runners[device].backend
    original, left = backend.run, iter(range(after))

    def run(*arguments: object, **options: object) -> object:
        if next(left, None) is None:
            raise GONE
        return original(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(backend, "run", run)


def asked(live: Live) -> list[httpx.Response]:
    """The answers to all requests, which are sent at the same time."""

    async def ask() -> list[httpx.Response]:
        async with httpx.AsyncClient(base_url=live.url, timeout=PATIENCE, verify=False) as client:
            calls = [
                client.post(PATHS[number % 2], content=PICTURES[number % len(PICTURES)]) for number in range(REQUESTS)
            ]
            return await asyncio.gather(*calls)

    return asyncio.run(ask())


def queued(live: Live, requests: int) -> float:
    """How many of so many requests of one tile wait, while those of two devices run."""
    with ThreadPoolExecutor(requests) as clients:
        with held(live):
            content = file(photo(0, 8, 8))
            answers = [clients.submit(post, live.url + PATHS[0], content=content) for _ in range(requests)]
            wait_for(lambda: live.metric("pastiche_admitted_requests"), lambda admitted: admitted == requests)
            found = wait_for(lambda: live.metric("pastiche_queue_requests"), lambda waiting: waiting == requests - 2)
        assert [answer.result().status_code for answer in answers] == [200] * requests
    return found


def contents(answers: list[httpx.Response]) -> list[bytes]:
    assert [answer.status_code for answer in answers] == [200] * REQUESTS
    return [answer.content for answer in answers]


def test_answers_are_those_of_one_device_and_both_are_used(tmp_path: Path) -> None:
    with serving(tmp_path / "one", *cpus(1)) as live:
        expected = contents(asked(live))
    with serving(tmp_path / "two", *cpus(2)) as live:
        loads = [live.metric("pastiche_device_busy_seconds_total", device=f"cpu:{number}") for number in range(2)]
        assert min(loads) > 0
        for _ in range(50):
            assert contents(asked(live)) == expected
            after = [live.metric("pastiche_device_busy_seconds_total", device=f"cpu:{number}") for number in range(2)]
            if after[1] > loads[1]:
                break
        assert all(then > before for then, before in zip(after, loads, strict=True))
        assert live.metric("pastiche_device_available") == 2
        assert live.metric("pastiche_device_operation_age_seconds") == 0


def test_requests_of_a_device_that_is_lost_are_answered_by_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(tmp_path, *cpus(3)) as live:
        expected = contents(asked(live))
        fail(live, 1, 10, monkeypatch)
        for _ in range(50):  # a busy machine sends so slowly that the first device does most of it
            assert contents(asked(live)) == expected
            if live.service.pool.runners[1].lost:
                break
        assert live.metric("pastiche_device_available", device="cpu:1") == 0
        assert live.metric("pastiche_device_available") == 2
        assert live.metric("pastiche_rejected_total") == 0
        ready = live.client.get("/readyz")
        [warning] = ready.json()["warnings"]
        assert (ready.status_code, warning) == (
            200,
            "cpu:1 failed: AcceleratorError; the service goes on with 2 of 3 devices; restart it to use all",
        )
        assert live.client.get("/livez").status_code == 200
        assert queued(live, 6) == 4
        publish(tmp_path, "wave", network(STYLE, seed=5))
        live.until("/readyz", lambda answer: "wave@2" in answer.json()["models"])
        newer = pixels(live.client.post(PATHS[0], content=PICTURES[0]).content)
        assert not np.array_equal(newer, pixels(expected[0]))


def test_what_was_accepted_is_answered_late_where_half_of_the_devices_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(tmp_path, *cpus(2), request_timeout=0.5) as live, ThreadPoolExecutor(6) as clients:
        fail(live, 1, 0, monkeypatch)
        with held(live):
            answers = [clients.submit(post, live.url + PATHS[0], content=PICTURES[seed]) for seed in range(6)]
            wait_for(lambda: live.metric("pastiche_queue_oldest_age_seconds"), lambda age: age > 0.5)
        found = [answer.result().status_code for answer in answers]
        assert live.service.pool.runners[1].lost
        assert set(found) <= {200, 503}  # 503: a busy machine sent it when the others had waited too long
        assert found.count(200) >= 3  # two ran, and one waited


def test_process_ends_with_its_last_device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(tmp_path, *cpus(2)) as live:
        for device in range(2):
            fail(live, device, 5, monkeypatch)
        answers = asked(live)
        failed = [answer for answer in answers if answer.status_code != 200]
        assert {answer.json()["type"] for answer in failed} <= {"/problems/device-lost", "/problems/draining"}
        assert any(answer.json()["type"] == "/problems/device-lost" for answer in failed)
        wait_for(live.service.lifespan.broken.is_set, lambda broken: broken)
        dead = live.client.get("/livez")
        assert dead.status_code == 503
        assert "cpu:0 failed: AcceleratorError; cpu:1 failed: AcceleratorError" in dead.json()["problems"]
        assert live.metric("pastiche_device_available") == 0
        assert isinstance(live.service.lifespan.tasks[0].exception(), DeviceLost)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_runners_of_one_gpu_give_the_same_bytes_and_capture_in_turns(tmp_path: Path) -> None:
    with serving(tmp_path, torch.device("cuda", 0), torch.device("cuda", 0)) as live:
        alone = [live.client.post(PATHS[number % 2], content=PICTURES[number % 12]) for number in range(REQUESTS)]
        assert contents(asked(live)) == contents(alone)
        publish(tmp_path, "deep", network("c3s1-4,d6,R6*2,u4,c3s1-3"))
        wait_for(
            lambda: contents(asked(live)) and live.client.get("/v1/models/deep").status_code, lambda code: code == 200
        )
        assert contents(asked(live)) == contents(alone)
