"""What the Redis job store promises beside test_store.py: several replicas, and failures of Redis."""

import asyncio
import shutil
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import redis
from redis.asyncio import Redis

from benchmarks.servers import reserved_port
from service.errors import JobsUnavailable, ServiceError
from service.jobs.job import JobState
from service.jobs.record import Delivery, DeliveryState, JobOutcome, JobProgress
from service.jobs.redis_store import PREFIX, RedisJobStore
from service.jobs.result_objects import ResultObjects
from service.jobs.store import ClaimLost, DeliveryClaim, RunClaim
from service.pipeline.requests import InputFiles
from service.telemetry.metrics import Metrics
from tests.buckets import s3_server, truncated, unavailable
from tests.service.jobs.redis_server import MISSING, RedisServer, losing, redis_server
from tests.service.jobs.stores import FILES, SUCCESS, Bench, owned
from tests.service.live import settings, wait_for

Scenario = Callable[[RedisJobStore, RedisJobStore], Awaitable[None]]

OTHER = SUCCESS.model_copy(update={"tiles": 8})
"""How a job ends for another replica."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with redis_server(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture
def bench(server: RedisServer, tmp_path: Path) -> Bench:
    server.client.flushall()
    return Bench(tmp_path, server)


def run(bench: Bench, scenario: Scenario, **options: Any) -> None:
    """Run a scenario with the stores of two replicas."""
    bench.options |= options

    async def opened() -> None:
        one, other = bench.redis_store(), bench.redis_store()
        try:
            await scenario(one, other)
        finally:
            await one.close()
            await other.close()

    asyncio.run(opened())


async def claimed(store: RedisJobStore) -> RunClaim:
    claim = await store.claim_run()
    assert claim is not None
    return claim


def test_replicas_share_jobs_and_their_progress(bench: Bench) -> None:
    async def scenario(one: RedisJobStore, other: RedisJobStore) -> None:
        assert (await one.create(owned("one"), FILES))[1]
        assert not (await other.create(owned("one"), FILES))[1]
        claim = await claimed(other)
        assert await one.claim_run() is None
        progress = JobProgress(started=datetime.now(UTC), tiles=9, tiles_done=4, seconds={"decode": 0.5})
        await other.renew(claim, progress)
        seen = await one.find("one")
        assert seen is not None
        assert (seen.state, seen.progress) == (JobState.RUNNING, progress)
        await other.finish(claim, SUCCESS, b"painted")
        assert await one.result("one") == b"painted"

    run(bench, scenario)


def test_job_of_a_replica_that_is_not_heard_of_is_taken_over_and_ends_once(bench: Bench) -> None:
    async def scenario(one: RedisJobStore, other: RedisJobStore) -> None:
        await one.create(owned("one"), FILES)
        stalled = await claimed(one)
        bench.pass_seconds(14)
        assert await other.claim_run() is None
        bench.pass_seconds(2)
        taken = await claimed(other)
        assert (taken.attempts, taken.taken_over) == (1, True)
        for lost in (
            one.finish(stalled, SUCCESS, b"late"),
            one.renew(stalled, JobProgress()),
            one.files(stalled),
        ):
            with pytest.raises(ClaimLost):
                await lost
        await one.release(stalled)
        assert await one.claim_run() is None
        assert await other.finish(taken, OTHER, b"painted") == OTHER
        with pytest.raises(ClaimLost):
            await one.finish(stalled, SUCCESS, b"later still")
        ended = await one.find("one")
        assert ended is not None
        assert (ended.outcome, await one.result("one")) == (OTHER, b"painted")

    run(bench, scenario, job_lease_seconds=15.0)


def test_claim_that_is_renewed_is_kept(bench: Bench) -> None:
    async def scenario(one: RedisJobStore, other: RedisJobStore) -> None:
        await one.create(owned("one"), FILES)
        claim = await claimed(one)
        for _ in range(3):
            bench.pass_seconds(14)
            await one.renew(claim, JobProgress())
            assert await other.claim_run() is None
        bench.pass_seconds(99)  # nobody has claimed it meanwhile
        assert await one.finish(claim, SUCCESS, b"painted") == SUCCESS

    run(bench, scenario, job_lease_seconds=15.0)


def test_attempts_that_end_a_replica_are_counted(bench: Bench) -> None:
    async def scenario(one: RedisJobStore, other: RedisJobStore) -> None:
        await one.create(owned("one"), FILES)
        attempts = []
        for store in (one, other, one, other):
            attempts.append((await claimed(store)).attempts)
            bench.pass_seconds(16)
        assert attempts == [0, 1, 2, 3]

    run(bench, scenario)


def test_webhook_of_a_replica_that_is_not_heard_of_is_delivered_by_another(bench: Bench) -> None:
    async def scenario(one: RedisJobStore, other: RedisJobStore) -> None:
        await one.create(owned("one", callback="https://example.com/"), FILES)
        await one.finish(await claimed(one), SUCCESS, b"painted")
        stalled = await one.claim_delivery()
        assert stalled is not None
        assert await other.claim_delivery() is None
        bench.pass_seconds(26)
        taken = await other.claim_delivery()
        assert taken is not None
        with pytest.raises(ClaimLost):
            await one.write_delivery(stalled, Delivery(state=DeliveryState.DELIVERED))
        await other.write_delivery(taken, Delivery(state=DeliveryState.DELIVERED))
        bench.pass_seconds(26)
        assert await one.claim_delivery() is None

    run(bench, scenario, webhook_timeout=10.0, job_lease_seconds=15.0)


def test_claims_and_waits_last_no_longer_though_the_clock_of_redis_is_set_back(bench: Bench) -> None:
    async def scenario(one: RedisJobStore, other: RedisJobStore) -> None:
        for name in ("claimed", "due", "running"):
            await one.create(owned(name, callback="https://example.com/"), FILES)
        await one.finish(await claimed(one), SUCCESS, b"painted")
        await one.claim_delivery()
        await one.finish(await claimed(one), SUCCESS, b"painted")
        stalled = await claimed(one)
        bench.pass_seconds(-3600)
        await other.sweep()
        waiting = await other.claim_delivery()
        assert waiting is not None
        assert (waiting.job.record.id, await other.claim_run()) == ("due", None)
        later = datetime.now(UTC) + timedelta(seconds=60)
        await other.write_delivery(waiting, Delivery(attempts=1, next_at=later))
        bench.pass_seconds(16)
        assert (await claimed(other)).record == stalled.record
        bench.pass_seconds(10)
        retaken = await other.claim_delivery()
        assert retaken is not None
        assert retaken.job.record.id == "claimed"
        bench.pass_seconds(-3600)
        await other.sweep()
        bench.pass_seconds(61)
        assert {claim.job.record.id async for claim in deliveries(other)} == {"claimed", "due"}

    run(bench, scenario, webhook_timeout=10.0, job_lease_seconds=15.0)


async def deliveries(store: RedisJobStore) -> AsyncIterator[DeliveryClaim]:
    """Every webhook that is due."""
    while (claim := await store.claim_delivery()) is not None:
        yield claim


def test_large_results_are_objects_that_go_with_their_jobs(bench: Bench) -> None:
    shared = bench.root / "shared"

    async def scenario(one: RedisJobStore, other: RedisJobStore) -> None:
        for name, content in (("small", b"12345678"), ("large", b"123456789"), ("expiring", bytes(9))):
            await one.create(owned(name), FILES)
            await one.finish(await claimed(one), SUCCESS, content)
            assert await other.result(name) == content
        assert len(list(shared.iterdir())) == 2
        await other.remove("large")
        await one.sweep()
        (kept,) = shared.iterdir()
        assert kept.read_bytes() == bytes(9)
        kept.unlink()
        with pytest.raises(FileNotFoundError):
            await one.result("expiring")
        bench.pass_seconds(101)
        await one.sweep()
        assert await one.find("small") is None

    run(bench, scenario, job_results_url=f"file://{shared}", job_inline_bytes=8, job_seconds=100.0)


IMAGE = b"painted" * 1000


def test_results_in_a_bucket_survive_its_faults(bench: Bench, server: RedisServer) -> None:
    async def scenario(one: RedisJobStore, other: RedisJobStore) -> None:
        await one.create(owned("one"), FILES)
        claim = await claimed(one)
        path = f"/bucket/results/{claim.token}"
        bucket.faults = [(f"PUT {path}", unavailable)] * 3
        with pytest.raises(JobsUnavailable, match="results cannot be written"):
            await one.finish(claim, SUCCESS, IMAGE)
        await one.finish(claim, SUCCESS, IMAGE)
        bucket.faults = [(f"GET {path}", truncated), (f"GET {path}", unavailable)]
        assert await other.result("one") == IMAGE
        bucket.faults = [(f"GET {path}", unavailable)] * 3
        with pytest.raises(JobsUnavailable, match="results cannot be read"):
            await other.result("one")
        await other.remove("one")
        bucket.faults = [(f"DELETE {path}", unavailable)] * 3
        await one.sweep()
        assert server.client.zcard(f"{PREFIX}objects") == 1
        await one.sweep()
        assert server.client.zcard(f"{PREFIX}objects") == 0
        with pytest.raises(FileNotFoundError):
            ResultObjects("s3://bucket/results").read(claim.token)

    with s3_server() as bucket:
        bucket.create()
        run(bench, scenario, job_results_url="s3://bucket/results")


def test_object_of_a_replica_that_lost_its_job_is_deleted(bench: Bench) -> None:
    shared = bench.root / "shared"

    async def scenario(one: RedisJobStore, other: RedisJobStore) -> None:
        await one.create(owned("one"), FILES)
        stalled = await claimed(one)
        bench.pass_seconds(16)
        taken = await claimed(other)
        await other.finish(taken, SUCCESS, b"painted")
        with pytest.raises(ClaimLost):
            await one.finish(stalled, SUCCESS, b"late")
        assert len(list(shared.iterdir())) == 2
        bench.pass_seconds(3601)
        await one.sweep()
        (kept,) = shared.iterdir()
        assert kept.read_bytes() == await one.result("one") == b"painted"

    run(bench, scenario, job_results_url=f"file://{shared}")


def test_replica_without_the_store_of_results_says_so(bench: Bench) -> None:
    async def scenario(one: RedisJobStore, other: RedisJobStore) -> None:
        await one.create(owned("one"), FILES)
        await one.finish(await claimed(one), SUCCESS, b"painted")
        bench.options.clear()
        without = bench.redis_store()
        with pytest.raises(JobsUnavailable, match="no job_results_url"):
            await without.result("one")
        await without.close()

    run(bench, scenario, job_results_url=f"file://{bench.root}/shared")


def test_store_of_results_that_fails_is_told(bench: Bench) -> None:
    (bench.root / "file").write_text("no folder")

    async def scenario(one: RedisJobStore, other: RedisJobStore) -> None:
        await one.create(owned("one"), FILES)
        with pytest.raises(JobsUnavailable, match="results cannot be written"):
            await one.finish(await claimed(one), SUCCESS, b"painted")

    run(bench, scenario, job_results_url=f"file://{bench.root}/file/folder")


def test_nothing_is_left_of_jobs_that_are_gone(bench: Bench) -> None:
    async def scenario(one: RedisJobStore, other: RedisJobStore) -> None:
        for name in ("ended", "deleted", "failed"):
            await one.create(owned(name, owner="a", callback="https://example.com/"), FILES)
        await one.finish(await claimed(one), SUCCESS, b"painted")
        await other.finish(await claimed(other), OTHER.model_copy(update={"result": None}))
        await other.remove("deleted")
        for name in ("ended", "failed"):
            assert await one.remove(name) is not None
        await one.sweep()
        assert one.counts.bytes == sum(one.counts.jobs.values()) == 0

    run(bench, scenario)
    assert bench.server is not None
    kept = {key for key in bench.server.client.scan_iter() if not expires_soon(bench.server, key)}
    assert kept == {b"clock", b"pastiche:{jobs}:bytes"}


def expires_soon(server: RedisServer, key: bytes) -> bool:
    return 0 < server.client.ttl(key) <= 60


def test_redis_that_is_away_is_told_and_comes_back_with_its_jobs(bench: Bench) -> None:
    server = bench.server
    assert server is not None

    async def scenario(one: RedisJobStore, other: RedisJobStore) -> None:
        await one.create(owned("one"), FILES)
        claim = await claimed(one)
        await asyncio.to_thread(server.stop)
        for call in (one.find("one"), one.create(owned("two"), FILES), one.claim_run(), one.finish(claim, SUCCESS)):
            with pytest.raises(JobsUnavailable, match="Redis cannot be reached") as refused:
                await call
            assert refused.value.retry_after == 5
            assert "sock" not in refused.value.detail
        assert one.trouble == "Redis cannot be reached"
        await asyncio.to_thread(server.start)
        assert await one.finish(claim, SUCCESS, b"painted") == SUCCESS
        assert await other.result("one") == b"painted"
        assert one.trouble is None

    run(bench, scenario)


@contextmanager
def full(server: RedisServer) -> Iterator[None]:
    """Redis has no memory left for the length of the block."""
    server.client.config_set("maxmemory", 1)
    try:
        yield
    finally:
        server.client.config_set("maxmemory", 0)


def test_full_redis_ends_renews_gives_back_and_deletes_jobs(bench: Bench, server: RedisServer) -> None:
    async def scenario(one: RedisJobStore, other: RedisJobStore) -> None:
        for name in ("one", "two", "waiting"):
            await one.create(owned(name, owner="a", callback="https://example.com/"), InputFiles(IMAGE))
        first, second = await claimed(one), await claimed(other)
        with full(server):
            with pytest.raises(JobsUnavailable, match="Redis has no memory left"):
                await one.create(owned("four"), FILES)
            await one.renew(first, JobProgress())
            await one.release(first)
            first = await claimed(one)
            await one.finish(first, SUCCESS, b"painted")
            with pytest.raises(JobsUnavailable, match="Redis has no memory left"):
                await other.finish(second, SUCCESS, 2 * IMAGE)
            await other.finish(second, JobOutcome.failed(ServiceError("it failed")))
            assert await one.remove("waiting") is not None
            delivery = await one.claim_delivery()
            assert delivery is not None
            await one.write_delivery(delivery, Delivery(state=DeliveryState.DELIVERED))
            assert await one.result("one") == b"painted"
        bench.pass_seconds(101)
        with full(server):
            await one.sweep()
        assert sum(one.counts.jobs.values()) == 0

    run(bench, scenario, job_seconds=100.0)


def test_full_redis_frees_results_outside_of_it(bench: Bench, server: RedisServer) -> None:
    shared = bench.root / "shared"

    async def scenario(one: RedisJobStore, other: RedisJobStore) -> None:
        await one.create(owned("one"), FILES)
        claim = await claimed(one)
        with full(server):
            await one.finish(claim, SUCCESS, IMAGE)
            assert await other.result("one") == IMAGE
            await other.remove("one")
            await other.sweep()
        assert list(shared.iterdir()) == []

    run(bench, scenario, job_results_url=f"file://{shared}")


def test_full_redis_is_told_until_it_has_room(
    bench: Bench, server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario(one: RedisJobStore, other: RedisJobStore) -> None:
        with full(server):
            with pytest.raises(JobsUnavailable):
                await one.create(owned("one"), FILES)
            for store in (one, other):
                await store.find("one")
                await store.claim_run()
                await store.sweep()
                assert store.trouble == "Redis has no memory left"
        await one.sweep()
        assert one.trouble is None

    run(bench, scenario)
    told = [line.message.split(":")[0] for line in caplog.records if line.name == "service.jobs.redis_store"]
    assert told == ["no jobs", "no jobs", "jobs are available again"]


def expire(server: RedisServer, job_id: str) -> None:
    """What Redis does by its own clock."""
    assert server.client.delete(f"{PREFIX}job:{job_id}") == 1


def test_id_of_a_job_that_has_expired_is_that_of_another_one(bench: Bench, server: RedisServer) -> None:
    """As where `job_seconds` was raised since it ended: the sweep would take the new one for it."""

    async def scenario(one: RedisJobStore, other: RedisJobStore) -> None:
        await one.create(owned("one", callback="https://example.com/"), FILES)
        failure = JobOutcome.failed(JobsUnavailable("away", retry_after=1))
        await one.finish(await claimed(one), failure)
        expire(server, "one")
        assert (await other.create(owned("one"), FILES))[1]
        assert bench.dropped_webhooks() == 1
        claim = await claimed(one)
        await other.sweep()
        assert {state: count for state, count in other.counts.jobs.items() if count} == {JobState.RUNNING: 1}
        bench.pass_seconds(101)
        await other.sweep()
        await one.renew(claim, JobProgress())
        assert await one.finish(claim, SUCCESS, b"painted") == SUCCESS
        assert await other.result("one") == b"painted"

    run(bench, scenario, job_seconds=100.0)


def test_webhook_whose_job_expires_before_the_sweep_is_counted(bench: Bench, server: RedisServer) -> None:
    async def scenario(one: RedisJobStore, other: RedisJobStore) -> None:
        for name in ("gone", "there"):
            await one.create(owned(name, callback="https://example.com/"), FILES)
            await one.finish(await claimed(one), SUCCESS, b"painted")
            bench.pass_seconds(1)
        expire(server, "gone")
        found = await other.claim_delivery()
        assert found is not None
        assert found.job.record.id == "there"
        assert await other.claim_delivery() is None
        await other.sweep()
        assert bench.dropped_webhooks() == 1

    run(bench, scenario)


def test_whole_call_has_its_time_while_redis_hangs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its commands, and those by which a connection begins, have one each as well: together several times as much."""
    monkeypatch.setattr("service.jobs.redis_store.CALL_SECONDS", 0.2)

    hanging: list[asyncio.Task[Any] | None] = []

    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        hanging.append(asyncio.current_task())
        while await reader.read(2**16):
            pass
        writer.close()
        await writer.wait_closed()

    async def scenario() -> None:
        async with await asyncio.start_unix_server(hang, tmp_path / "redis.sock"):
            store = RedisJobStore(settings(tmp_path, jobs_url=f"unix://{tmp_path}/redis.sock?db=1"), Metrics())
            for _ in range(2):
                with pytest.raises(JobsUnavailable, match="Redis does not answer in time"):
                    await store.find("one")
                with pytest.raises(JobsUnavailable, match="Redis does not answer in time"):
                    await store.create(owned("one"), FILES)
            await store.close()
            await asyncio.gather(*(task for task in hanging if task is not None))

    asyncio.run(scenario())


def test_more_calls_than_connections_wait_for_each_other(bench: Bench) -> None:
    async def scenario(one: RedisJobStore, other: RedisJobStore) -> None:
        await one.create(owned("one"), FILES)
        found = await asyncio.gather(*(other.find("one") for _ in range(300)))
        assert {job.record.id for job in found if job is not None} == {"one"}
        assert other.trouble is None

    run(bench, scenario)


def test_answers_that_are_lost_on_the_way_change_nothing(bench: Bench, server: RedisServer) -> None:
    async def scenario() -> None:
        async with losing(server) as (way, url):
            store = bench.redis_store(url)

            async def losing_answer(call: Awaitable[Any]) -> Any:
                way.lost = 1
                answer = await call
                assert way.lost == 0
                return answer

            for name in ("warm", "one"):  # the scripts are known then
                record = owned(name, callback="https://example.com/")
                _, new = await losing_answer(store.create(record, FILES))
                assert new
                claim = await claimed(store)
                assert await losing_answer(store.finish(claim, SUCCESS, b"painted")) == SUCCESS
                await losing_answer(store.renew(claim, JobProgress()))
                delivery = await store.claim_delivery()
                assert delivery is not None
                await losing_answer(store.write_delivery(delivery, Delivery(state=DeliveryState.DELIVERED)))
            await store.sweep()
            assert store.counts.jobs[JobState.SUCCEEDED] == 2
            for name in ("warm", "one"):
                assert await losing_answer(store.remove(name)) is JobState.SUCCEEDED
                assert await store.remove(name) is None
            await store.close()

    asyncio.run(scenario())


def test_object_is_kept_as_long_as_its_job_though_its_end_is_stored_twice(bench: Bench) -> None:
    """As where Redis has stored it, and its answer comes too late."""

    async def scenario(one: RedisJobStore, other: RedisJobStore) -> None:
        await one.create(owned("one"), FILES)
        claim = await claimed(one)
        for _ in range(2):
            await one.finish(claim, SUCCESS, IMAGE)
        bench.pass_seconds(7000)
        await other.sweep()
        assert await other.result("one") == IMAGE
        bench.pass_seconds(201)
        await other.sweep()
        with pytest.raises(FileNotFoundError):
            await other.result("one")

    run(bench, scenario, job_results_url=f"file://{bench.root}/shared", job_seconds=7200.0)


def test_claim_on_a_job_that_has_ended_is_not_lost(bench: Bench) -> None:
    """Its end is stored before its replica knows that, which may renew the claim meanwhile."""

    async def scenario(one: RedisJobStore, other: RedisJobStore) -> None:
        await one.create(owned("one"), FILES)
        claim = await claimed(one)
        await one.finish(claim, SUCCESS, b"painted")
        await one.renew(claim, JobProgress())
        ended = await one.find("one")
        assert ended is not None
        assert ended.outcome == SUCCESS
        assert await other.claim_run() is None

    run(bench, scenario)


class Upgraded:
    """A job whose record one replica cannot read, and others can."""

    def __init__(self, server: RedisServer, name: str) -> None:
        self._client, self._key = server.client, f"{PREFIX}job:{name}"
        self._record: Any = self._client.hget(self._key, "record")
        self.hide()

    def hide(self) -> None:
        self._client.hset(self._key, "record", self._record.replace(b'"strength":', b'"unknown": 1, "strength":'))

    def show(self) -> None:
        self._client.hset(self._key, "record", self._record)


def test_job_of_another_version_is_left_to_its_replicas(bench: Bench, server: RedisServer) -> None:
    async def scenario(one: RedisJobStore, other: RedisJobStore) -> None:
        await one.create(owned("newer", callback="https://example.com/"), FILES)
        await one.create(owned("two"), FILES)
        newer = Upgraded(server, "newer")
        with pytest.raises(JobsUnavailable, match="another version"):
            await one.find("newer")
        two = await claimed(one)
        assert two.record.id == "two"
        await one.finish(two, SUCCESS, b"painted")
        assert await one.claim_run() is None
        await one.create(owned("unwanted"), FILES)
        Upgraded(server, "unwanted")
        assert await one.remove("unwanted") is JobState.QUEUED
        newer.show()
        claim = await claimed(other)
        assert (claim.record.id, claim.attempts) == ("newer", 0)
        await other.finish(claim, SUCCESS, b"painted")
        newer.hide()
        assert await one.claim_delivery() is None
        newer.show()
        delivery = await other.claim_delivery()
        assert delivery is not None
        assert delivery.job.record.id == "newer"

    run(bench, scenario)


def test_many_jobs_of_another_version_keep_no_other_waiting(bench: Bench, server: RedisServer) -> None:
    names = [f"newer{index}" for index in range(3)]

    async def scenario(one: RedisJobStore, other: RedisJobStore) -> None:
        for name in [*names, "own"]:
            await other.create(owned(name, callback="https://example.com/"), FILES)
        newer = [Upgraded(server, name) for name in names]
        own = await claimed(one)
        assert own.record.id == "own"
        for each in newer:
            each.show()
        for _ in names:
            await other.finish(await claimed(other), SUCCESS, b"painted")
        for each in newer:
            each.hide()
        await one.finish(own, SUCCESS, b"painted")
        delivery = await one.claim_delivery()
        assert delivery is not None
        assert delivery.job.record.id == "own"

    run(bench, scenario)


def test_jobs_of_another_version_are_forgotten_when_their_replicas_have_ended_them(
    bench: Bench, server: RedisServer
) -> None:
    """What is remembered is sent with each claim."""
    names = [f"{letter * 99}" for letter in "abc"]

    async def scenario(one: RedisJobStore, other: RedisJobStore) -> None:
        without = await bytes_to_claim(one, server)
        for name in names:
            await other.create(owned(name, callback="https://example.com/"), FILES)
        newer = [Upgraded(server, name) for name in names]
        assert await one.claim_run() is None
        await one.sweep()
        assert await bytes_to_claim(one, server) > without + 3 * 99
        for each in newer:
            each.show()
        for _ in names:
            await other.finish(await claimed(other), SUCCESS, b"painted")
            delivery = await other.claim_delivery()
            assert delivery is not None
            await other.write_delivery(delivery, Delivery(state=DeliveryState.DELIVERED))
        await one.sweep()
        assert await bytes_to_claim(one, server) < without + 99

    run(bench, scenario)


async def bytes_to_claim(store: RedisJobStore, server: RedisServer) -> int:
    """How many bytes Redis gets where there is nothing to claim."""
    await store.claim_run()  # the script is known then
    before = received(server)
    assert await store.claim_run() is None
    return received(server) - before


def received(server: RedisServer) -> int:
    return int(server.client.info("stats")["total_net_input_bytes"])


def test_id_of_a_job_of_another_version_may_be_used_again(bench: Bench, server: RedisServer) -> None:
    async def scenario(one: RedisJobStore, other: RedisJobStore) -> None:
        await other.create(owned("same"), FILES)
        newer = Upgraded(server, "same")
        assert await one.claim_run() is None
        newer.show()
        await other.remove("same")
        bench.pass_seconds(1)
        await one.create(owned("same"), FILES)
        assert (await claimed(one)).record.id == "same"

    run(bench, scenario)


def test_password_that_is_refused_is_told(bench: Bench, tmp_path: Path) -> None:
    assert bench.server is not None
    url = bench.server.url().replace("unix://", "unix://nobody:secret@")

    async def ask() -> None:
        store = RedisJobStore(settings(tmp_path, jobs_url=url), Metrics())
        with pytest.raises(JobsUnavailable, match="Redis refuses the password") as refused:
            await store.find("one")
        assert "secret" not in refused.value.detail
        await store.close()

    asyncio.run(ask())


def test_time_is_that_of_the_server(server: RedisServer, tmp_path: Path) -> None:
    async def scenario() -> None:
        store = RedisJobStore(settings(tmp_path, jobs_url=server.url()), Metrics())
        await store.create(owned("timed"), FILES)
        redis = Redis.from_url(server.url())
        ordered = await redis.hget("pastiche:{jobs}:job:timed", "order")
        seconds, _ = await redis.time()
        assert ordered is not None
        assert abs(float(ordered) - seconds) < 3600
        await redis.aclose()
        await store.close()

    server.client.flushall()
    asyncio.run(scenario())


def test_redis_cluster_is_told_from_a_redis_that_fails(tmp_path: Path) -> None:
    if shutil.which("redis-server") is None:
        pytest.skip(MISSING)

    async def scenario(port: int) -> None:
        store = RedisJobStore(settings(tmp_path, jobs_url=f"redis://127.0.0.1:{port}/0"), Metrics())
        with pytest.raises(JobsUnavailable, match="is a cluster, which is not spoken here; name a lone Redis"):
            await store.find("one")
        await store.close()

    with reserved_port() as port, reserved_port() as bus:  # that of the bus is by default 10,000 above the other
        command = ["redis-server", "--port", str(port), "--save", "", "--dir", str(tmp_path)]
        command += ["--cluster-enabled", "yes", "--cluster-port", str(bus)]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL) as node, redis.Redis(port=port) as client:
            try:
                wait_for(partial(_answers, client), lambda answers: answers)
                asyncio.run(scenario(port))
            finally:
                node.kill()


def _answers(client: redis.Redis) -> bool:
    try:
        return bool(client.ping())
    except redis.RedisError:
        return False
