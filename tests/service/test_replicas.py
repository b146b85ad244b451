"""Several replicas with one job store: services on one Redis server."""

import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.networks import network
from tests.service.http.access.keyed import Headers, write_keys
from tests.service.http.routes.test_jobs import ended
from tests.service.http.webhooks.receiver import SECRET, receiving
from tests.service.imaging.images import file, photo
from tests.service.jobs.redis_server import RedisServer, redis_server
from tests.service.live import Live, held, publish, serving, wait_for
from tests.service.test_server import LARGE, process

OPTIONS: dict[str, Any] = {"webhook_secret": SECRET, "webhook_hosts": "127.0.0.1", "webhook_retry_seconds": 0.01}


@dataclass(frozen=True)
class Replicas:
    """Two services with the same models and one Redis server, which hear of each other within a second."""

    redis: RedisServer
    one: Live
    other: Live


@contextmanager
def replicas(root: Path) -> Iterator[Replicas]:
    publish(root / "models")
    (root / "redis").mkdir()
    with redis_server(root / "redis") as redis:
        options = OPTIONS | {"jobs_url": redis.url(), "job_lease_seconds": 10.0, "tile_values": 2**16}
        with serving(root / "models", **options) as one, serving(root / "models", **options) as other:
            yield Replicas(redis, one, other)


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Replicas]:
    with replicas(tmp_path_factory.mktemp("replicas")) as running:
        yield running


def put(live: Live, name: str, content: bytes = file(photo()), headers: Headers | None = None) -> httpx.Response:
    return live.client.put(f"/v1/jobs/{name}?style=wave", content=content, headers=headers)


def ended_jobs(both: Replicas, state: str = "succeeded") -> float:
    """How many jobs have ended so, at either replica."""
    return sum(live.metric("pastiche_jobs_ended_total", state=state) for live in (both.one, both.other))


def test_any_replica_answers_for_any_job(both: Replicas) -> None:
    assert put(both.one, "mine").status_code == 201
    assert put(both.other, "mine").status_code == 200
    job = ended(both.other.client, "/v1/jobs/mine")
    assert job["state"] == "succeeded"
    assert both.one.client.get("/v1/jobs/mine").json() == job
    images = [live.client.get("/v1/jobs/mine/result") for live in (both.one, both.other)]
    assert images[0].content == images[1].content
    assert images[0].headers["ETag"] == job["result"]["etag"]
    assert put(both.other, "mine", file(photo(1))).status_code == 409
    assert both.other.client.delete("/v1/jobs/mine").status_code == 204
    assert both.one.client.get("/v1/jobs/mine").status_code == 404


def test_job_that_is_begun_at_both_at_once_runs_once(both: Replicas) -> None:
    before = ended_jobs(both)
    with ThreadPoolExecutor(2) as clients:
        answers = list(clients.map(lambda live: put(live, "twice"), (both.one, both.other)))
    assert sorted(answer.status_code for answer in answers) == [200, 201]
    ended(both.one.client, "/v1/jobs/twice")
    assert both.one.client.delete("/v1/jobs/twice").status_code == 204
    assert ended_jobs(both) == before + 1


def test_job_that_is_asked_for_again_at_another_replica_is_the_same(both: Replicas) -> None:
    headers = {"Prefer": "respond-async", "Idempotency-Key": '"again"'}

    def post(live: Live, content: bytes = file(photo())) -> httpx.Response:
        return live.client.post("/v1/stylize/wave", content=content, headers=headers)

    before = ended_jobs(both)
    with ThreadPoolExecutor(2) as clients:
        answers = list(clients.map(post, (both.one, both.other)))
    assert [answer.status_code for answer in answers] == [202, 202]
    [location] = {answer.headers["Location"] for answer in answers}
    ended(both.one.client, location)
    assert post(both.other).headers["Location"] == location
    reused = post(both.one, file(photo(1)))
    assert (reused.status_code, reused.json()["type"]) == (422, "/problems/idempotency-key-reused")
    assert both.one.client.delete(location).status_code == 204
    assert ended_jobs(both) == before + 1


def test_job_that_another_replica_deletes_frees_the_device(both: Replicas) -> None:
    with held(both.one), held(both.other):
        assert put(both.one, "large", file(photo(height=300, width=400))).status_code == 201
        for live in (both.one, both.other):
            live.until("/v1/jobs/large", lambda answer: answer.json()["progress"]["tiles"] > 1)
            assert live.client.get("/v1/jobs/large").json()["state"] == "running"
        runs_here = both.one.metric("pastiche_admitted_requests")
        holder, caller = (both.one, both.other) if runs_here else (both.other, both.one)
        assert caller.client.delete("/v1/jobs/large").status_code == 204
        wait_for(lambda: holder.metric("pastiche_admitted_requests"), lambda admitted: admitted == 0)


def test_webhook_is_sent_once(both: Replicas) -> None:
    with receiving() as receiver:
        for number in range(4):
            headers = {"X-Callback-URL": receiver.url}
            assert put((both.one, both.other)[number % 2], f"told-{number}", headers=headers).status_code == 201
        wait_for(lambda: len(receiver.received), lambda received: received == 4)
        for number in range(4):
            assert both.one.client.delete(f"/v1/jobs/told-{number}").status_code == 204
    assert {received.json["id"] for received in receiver.received} == {f"told-{number}" for number in range(4)}


def test_client_may_wait_for_a_job_of_any_replica(both: Replicas) -> None:
    waiting = {"Prefer": "respond-async, wait=30"}
    answer = both.one.client.post("/v1/stylize/wave?format=png", content=file(photo()), headers=waiting)
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "image/png")


def test_redis_that_is_away_concerns_jobs_alone_and_running_ones_go_on(both: Replicas) -> None:
    one = both.one
    with held(one), held(both.other):
        assert put(one, "patient").status_code == 201
        one.until("/v1/jobs/patient", lambda answer: answer.json()["progress"]["tiles"] > 0)
        both.redis.stop()
        for answer in (put(one, "new"), one.client.get("/v1/jobs/patient"), one.client.delete("/v1/jobs/patient")):
            assert (answer.status_code, answer.json()["type"]) == (503, "/problems/jobs-unavailable")
            assert answer.headers["Retry-After"] == "5"
            assert "Redis cannot be reached" in answer.json()["detail"]
    assert one.client.post("/v1/stylize/wave", content=file(photo(2))).status_code == 200
    ready = one.client.get("/readyz")
    assert (ready.status_code, ready.json()["status"]) == (200, "ok")
    assert any("Redis cannot be reached" in warning for warning in ready.json()["warnings"])
    assert one.metric("pastiche_job_store_available") == 0
    both.redis.start()
    one.until("/v1/jobs/patient", lambda answer: answer.status_code == 200)
    assert ended(one.client, "/v1/jobs/patient")["state"] == "succeeded"
    wait_for(lambda: one.client.get("/readyz").json()["warnings"], lambda warnings: warnings == [])
    assert one.metric("pastiche_job_store_available") == 1


def test_job_of_a_replica_that_is_killed_is_done_by_another(tmp_path: Path) -> None:
    publish(tmp_path / "models", built=network())
    with redis_server(tmp_path) as redis:
        shared = ["--jobs-url", redis.url(), "--job-lease-seconds", "1"]
        with process(tmp_path / "models", *shared) as killed:
            assert killed.client.put("/v1/jobs/mine?style=wave&size=native", content=LARGE).status_code == 201
            running = wait_for(lambda: redis.client.zcard("pastiche:{jobs}:running"), lambda count: count == 1)
            assert running == 1
            killed.handle.send_signal(signal.SIGKILL)
            killed.handle.wait()
        with serving(tmp_path / "models", jobs_url=redis.url(), job_lease_seconds=60.0) as live:
            assert ended(live.client, "/v1/jobs/mine")["result"]["width"] == 2000
            assert live.metric("pastiche_jobs_taken_over_total") == 1


def test_job_belongs_to_its_key_at_every_replica_and_is_handed_back_by_one_that_stops(tmp_path: Path) -> None:
    publish(tmp_path / "models")
    keys = write_keys(tmp_path / "keys.toml", one="", two="")
    with redis_server(tmp_path) as redis:
        options = {"jobs_url": redis.url(), "job_lease_seconds": 3600.0, "keys_file": tmp_path / "keys.toml"}
        with serving(tmp_path / "models", **options | {"drain_seconds": 0.0}) as stopped, held(stopped):
            assert put(stopped, "mine", headers=keys["one"]).status_code == 201
            wait_for(lambda: redis.client.zcard("pastiche:{jobs}:running"), lambda count: count == 1)
        with serving(tmp_path / "models", **options) as live:
            assert live.client.get("/v1/jobs/mine", headers=keys["two"]).status_code == 404
            live.client.headers.update(keys["one"])
            assert ended(live.client, "/v1/jobs/mine")["state"] == "succeeded"
