"""What both job stores promise."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from service.errors import JobsUnavailable, QuotaExceeded, TooManyJobs
from service.jobs.delivery_places import FullPlaces
from service.jobs.job import JobState
from service.jobs.record import Delivery, DeliveryState, JobOutcome
from service.jobs.refusals import jobs_unavailable
from service.jobs.store import ClaimLost, JobStore, when_available
from service.pipeline.requests import InputFiles
from tests.service.jobs.redis_server import RedisServer, redis_server
from tests.service.jobs.stores import FILES, SUCCESS, Bench, owned

Scenario = Callable[[JobStore], Awaitable[None]]


@pytest.fixture(scope="module", params=["folder", "redis"])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer | None]:
    if request.param == "folder":
        yield None
    else:
        with redis_server(tmp_path_factory.mktemp("redis")) as server:
            yield server


@pytest.fixture
def bench(server: RedisServer | None, tmp_path: Path) -> Bench:
    if server is not None:
        server.client.flushall()
    return Bench(tmp_path, server)


def run(bench: Bench, scenario: Scenario, **options: Any) -> None:
    """Run a scenario with an open store."""
    bench.options |= options

    async def opened() -> None:
        store = bench.store()
        await store.open()
        try:
            await scenario(store)
        finally:
            await store.close()

    asyncio.run(opened())


async def finish(store: JobStore, content: bytes = b"painted", outcome: JobOutcome = SUCCESS) -> JobOutcome:
    """Claim the next job and end it."""
    claim = await store.claim_run()
    assert claim is not None
    return await store.finish(claim, outcome.model_copy(update={"finished": datetime.now(UTC)}), content)


def test_job_is_stored_once_with_its_files(bench: Bench) -> None:
    async def scenario(store: JobStore) -> None:
        assert await store.find("one") is None
        answers = await asyncio.gather(*(store.create(owned("one"), FILES) for _ in range(4)))
        assert [new for _, new in answers].count(True) == 1
        assert {job.record.id for job, _ in answers} == {"one"}
        found = await store.find("one")
        assert found is not None
        assert (found.state, found.record.request) == (JobState.QUEUED, owned("one").request)
        claim = await store.claim_run()
        assert claim is not None
        assert await store.files(claim) == FILES
        assert await store.claim_run() is None

    run(bench, scenario)


def test_file_without_a_mask_has_none(bench: Bench) -> None:
    async def scenario(store: JobStore) -> None:
        await store.create(owned("one"), InputFiles(b"\xff\x00\r\n"))
        claim = await store.claim_run()
        assert claim is not None
        assert await store.files(claim) == InputFiles(b"\xff\x00\r\n")

    run(bench, scenario)


def test_jobs_are_claimed_in_their_order_and_released_ones_do_not_count_it(bench: Bench) -> None:
    async def scenario(store: JobStore) -> None:
        for name in ("one", "two"):
            await store.create(owned(name), FILES)
            bench.pass_seconds(1)
        first, second = await store.claim_run(), await store.claim_run()
        assert first is not None
        assert second is not None
        assert (first.record.id, second.record.id) == ("one", "two")
        await store.release(first)
        again = await store.claim_run()
        assert again is not None
        assert (again.record.id, again.attempts, again.taken_over) == ("one", 0, False)

    run(bench, scenario)


def test_ended_job_has_its_result_and_no_input(bench: Bench) -> None:
    async def scenario(store: JobStore) -> None:
        await store.create(owned("one"), InputFiles(bytes(5000)))
        claim = await store.claim_run()
        assert claim is not None
        assert await store.finish(claim, SUCCESS, b"painted") == SUCCESS
        assert await store.finish(claim, SUCCESS, b"painted") == SUCCESS
        found = await store.find("one")
        assert found is not None
        assert (found.state, found.outcome) == (JobState.SUCCEEDED, SUCCESS)
        assert await store.result("one") == b"painted"
        await store.sweep()
        assert 7 < store.counts.bytes < 5000
        assert store.counts.jobs == {
            JobState.QUEUED: 0,
            JobState.RUNNING: 0,
            JobState.SUCCEEDED: 1,
            JobState.FAILED: 0,
        }

    run(bench, scenario)


@pytest.mark.parametrize(
    ("outcome", "state"),
    [(SUCCESS, JobState.SUCCEEDED), (JobOutcome.failed(jobs_unavailable("away", 1)), JobState.FAILED)],
)
def test_who_deletes_a_job_is_told_how_it_ended(bench: Bench, outcome: JobOutcome, state: JobState) -> None:
    async def scenario(store: JobStore) -> None:
        await store.create(owned("one"), FILES)
        await finish(store, outcome=outcome)
        assert await store.remove("one") is state
        assert await store.remove("one") is None

    run(bench, scenario)


def test_job_that_is_deleted_cannot_be_ended(bench: Bench) -> None:
    async def scenario(store: JobStore) -> None:
        await store.create(owned("one"), FILES)
        claim = await store.claim_run()
        assert claim is not None
        assert await store.remove("one") in (JobState.QUEUED, JobState.RUNNING)
        assert await store.find("one") is None
        assert await store.remove("one") is None
        with pytest.raises(ClaimLost):
            await store.files(claim)
        with pytest.raises(ClaimLost):
            await store.finish(claim, SUCCESS, b"painted")
        await store.release(claim)
        assert await store.claim_run() is None
        with pytest.raises(FileNotFoundError):
            await store.result("one")
        await store.sweep()
        assert store.counts.bytes == 0

    run(bench, scenario)


def test_claim_on_a_job_that_was_deleted_is_none_on_the_next_one_of_its_id(bench: Bench) -> None:
    async def scenario(store: JobStore) -> None:
        await store.create(owned("one"), InputFiles(b"old"))
        old = await store.claim_run()
        assert old is not None
        await store.remove("one")
        await store.create(owned("one"), InputFiles(b"new"))
        new = await store.claim_run()
        assert new is not None
        with pytest.raises(ClaimLost):
            await store.files(old)
        with pytest.raises(ClaimLost):
            await store.finish(old, SUCCESS, b"old")
        await store.release(old)
        assert await store.claim_run() is None
        assert await store.files(new) == InputFiles(b"new")
        await store.finish(new, SUCCESS, b"new")
        assert await store.result("one") == b"new"

    run(bench, scenario)


def test_job_that_was_given_back_is_not_ended_by_the_claim_before(bench: Bench) -> None:
    async def scenario(store: JobStore) -> None:
        await store.create(owned("one"), FILES)
        claim = await store.claim_run()
        assert claim is not None
        await store.release(claim)
        with pytest.raises(ClaimLost):
            await store.finish(claim, SUCCESS, b"painted")
        again = await store.claim_run()
        assert again is not None
        await store.finish(again, SUCCESS, b"painted")
        await store.release(again)
        assert await store.claim_run() is None

    run(bench, scenario)


def test_no_more_jobs_are_accepted_than_the_limits_say(bench: Bench) -> None:
    async def scenario(store: JobStore) -> None:
        await store.create(owned("one", owner="a"), FILES, 1)
        with pytest.raises(QuotaExceeded, match="1 jobs of this client"):
            await store.create(owned("two", owner="a"), FILES, 1)
        await store.create(owned("two", owner="b"), FILES, 1)
        with pytest.raises(TooManyJobs, match="2 jobs are unfinished"):
            await store.create(owned("three", owner="c"), FILES, 1)
        await finish(store)
        await store.remove("two")
        for name in ("four", "five"):
            await store.create(owned(name, owner="a"), FILES, 2)

    run(bench, scenario, max_jobs=2)


def test_oldest_results_make_room_and_unfinished_jobs_do_not(bench: Bench) -> None:
    async def scenario(store: JobStore) -> None:
        for name in ("one", "two"):
            await store.create(owned(name), FILES)
            await finish(store, bytes(4000))
            bench.pass_seconds(1)
        await store.create(owned("three"), InputFiles(bytes(4000)))
        assert await store.find("one") is None
        assert await store.find("two") is not None
        with pytest.raises(TooManyJobs, match="no room for 9000 bytes"):
            await store.create(owned("four"), InputFiles(bytes(9000)))
        assert await store.find("three") is not None

    run(bench, scenario, job_bytes=12_000)


def test_results_stay_where_their_room_would_not_do(bench: Bench) -> None:
    async def scenario(store: JobStore) -> None:
        await store.create(owned("ended", callback="https://example.com/"), FILES)
        await finish(store, bytes(4000))
        with pytest.raises(TooManyJobs, match="no room for 13000 bytes"):
            await store.create(owned("large"), InputFiles(bytes(13_000)))
        await store.create(owned("enlarged"), FILES)
        assert (await finish(store, bytes(13_000))).failure is not None
        assert await store.result("ended") == bytes(4000)
        assert bench.dropped_webhooks() == 0

    run(bench, scenario, job_bytes=12_000)


def test_result_that_is_too_large_is_a_failure(bench: Bench) -> None:
    async def scenario(store: JobStore) -> None:
        await store.create(owned("one"), FILES)
        stored = await finish(store, bytes(9000))
        found = await store.find("one")
        assert found is not None
        assert found.state is JobState.FAILED
        for outcome in (stored, found.outcome):
            assert outcome is not None
            assert outcome.failure is not None
            assert outcome.failure.kind == "result-too-large"

    run(bench, scenario, job_bytes=8000)


def test_result_for_which_unfinished_jobs_leave_no_room_is_not_called_too_large(bench: Bench) -> None:
    async def scenario(store: JobStore) -> None:
        await store.create(owned("one"), FILES)
        await store.create(owned("waiting"), InputFiles(bytes(5000)))
        stored = await finish(store, bytes(4000))
        assert stored.failure is not None
        assert stored.failure.kind == "too-many-jobs"
        assert "no room for the 4000 bytes of the result; 8000 are kept" in stored.failure.detail

    run(bench, scenario, job_bytes=8000)


def test_uploads_leave_room_for_results_larger_than_they_are(bench: Bench) -> None:
    async def scenario(store: JobStore) -> None:
        for number in range(5):
            await store.create(owned(f"job-{number}"), InputFiles(bytes(1200)))
        with pytest.raises(TooManyJobs, match=r"no room for \d+ bytes; 9000 are kept of them"):
            await store.create(owned("beyond"), InputFiles(bytes(1200)))
        for _ in range(5):
            assert (await finish(store, bytes(2800))).failure is None
            await store.create(owned("more"), InputFiles(bytes(1000)))
            await store.remove("more")

    run(bench, scenario, job_bytes=12_000)


def test_an_upload_may_have_all_the_space_while_no_job_is_unfinished(bench: Bench) -> None:
    async def scenario(store: JobStore) -> None:
        await store.create(owned("earlier"), FILES)
        await finish(store, bytes(3000))
        await store.create(owned("large"), InputFiles(bytes(7000)))
        with pytest.raises(TooManyJobs):
            await store.create(owned("small"), FILES)
        assert (await finish(store, bytes(7200))).failure is None
        await store.create(owned("small"), FILES)

    run(bench, scenario, job_bytes=8000)


def test_results_expire(bench: Bench) -> None:
    async def scenario(store: JobStore) -> None:
        await store.create(owned("one", callback="https://example.com/"), FILES)
        await finish(store)
        await store.create(owned("waiting"), FILES)
        bench.pass_seconds(50)
        await store.sweep()
        assert await store.find("one") is not None
        bench.pass_seconds(51)
        await store.sweep()
        assert await store.find("one") is None
        assert await store.find("waiting") is not None
        assert bench.dropped_webhooks() == 1
        assert sum(store.counts.jobs.values()) == 1

    run(bench, scenario, job_seconds=100.0)


def test_webhook_is_claimed_once_when_it_is_due(bench: Bench) -> None:
    async def scenario(store: JobStore) -> None:
        await store.create(owned("one", callback="https://example.com/"), FILES)
        assert await store.claim_delivery() is None
        await finish(store)
        claim = await store.claim_delivery()
        assert claim is not None
        assert (claim.job.state, claim.delivery.attempts) == (JobState.SUCCEEDED, 0)
        assert await store.claim_delivery() is None
        await store.write_delivery(claim, Delivery(attempts=1, next_at=bench.now + timedelta(seconds=60)))
        assert await store.claim_delivery() is None
        bench.pass_seconds(61)
        again = await store.claim_delivery()
        assert again is not None
        assert again.delivery.attempts == 1
        await store.write_delivery(again, Delivery(state=DeliveryState.DELIVERED, attempts=2))
        bench.pass_seconds(3600)
        assert await store.claim_delivery() is None

    run(bench, scenario)


@pytest.mark.parametrize(
    ("full", "expected"),
    [
        (FullPlaces(), ["one", "two", "three"]),
        (FullPlaces(hosts=frozenset({"slow.example"})), ["two", "three"]),
        (FullPlaces(owners=frozenset({"b"})), ["one", "three"]),
    ],
)
def test_webhooks_without_a_place_are_passed_over(bench: Bench, full: FullPlaces, expected: list[str]) -> None:
    async def scenario(store: JobStore) -> None:
        for name, owner, host in (("one", "a", "slow"), ("two", "b", "other"), ("three", "c", "other")):
            await store.create(owned(name, owner, f"https://{host.upper()}.example:8443/"), FILES)
            await finish(store)
            bench.pass_seconds(1)
        claims = [await store.claim_delivery(full) for _ in expected]
        assert [claim.job.record.id for claim in claims if claim is not None] == expected
        assert await store.claim_delivery(full) is None
        assert store.seconds_to_delivery(full) == store.poll_seconds
        assert (await store.claim_delivery() is None) == (len(expected) == 3)

    run(bench, scenario)


def test_webhook_of_a_deleted_job_is_dropped(bench: Bench) -> None:
    async def scenario(store: JobStore) -> None:
        await store.create(owned("one", callback="https://example.com/"), FILES)
        await finish(store)
        claim = await store.claim_delivery()
        assert claim is not None
        await store.remove("one")
        assert bench.dropped_webhooks() == 1
        with pytest.raises(ClaimLost):
            await store.write_delivery(claim, Delivery(state=DeliveryState.DELIVERED))

    run(bench, scenario)


@pytest.mark.parametrize("callback", [None, "https://example.com/"])
def test_webhook_of_a_deleted_job_is_not_that_of_the_next_one_of_its_id(bench: Bench, callback: str | None) -> None:
    async def scenario(store: JobStore) -> None:
        await store.create(owned("one", callback="https://example.com/"), FILES)
        await finish(store)
        old = await store.claim_delivery()
        assert old is not None
        await store.remove("one")
        await store.create(owned("one", callback=callback), FILES)
        with pytest.raises(ClaimLost):
            await store.write_delivery(old, Delivery(attempts=1))
        assert await store.claim_delivery() is None
        await finish(store)
        with pytest.raises(ClaimLost):
            await store.write_delivery(old, Delivery(state=DeliveryState.DELIVERED, attempts=1))
        assert (await store.claim_delivery() is not None) == (callback is not None)

    run(bench, scenario)


def test_jobs_outlive_the_process_that_took_them(bench: Bench) -> None:
    async def before(store: JobStore) -> None:
        for name in ("ended", "waiting"):
            await store.create(owned(name, callback="https://example.com/"), FILES)
            bench.pass_seconds(1)
        await finish(store)

    async def after(store: JobStore) -> None:
        assert await store.result("ended") == b"painted"
        webhook, claim = await store.claim_delivery(), await store.claim_run()
        assert webhook is not None
        assert claim is not None
        assert (webhook.job.record.id, claim.record.id, claim.attempts) == ("ended", "waiting", 0)

    run(bench, before)
    run(bench, after)


def test_call_of_a_store_that_is_away_is_made_again() -> None:
    failures = [jobs_unavailable("away", 5)] * 2

    async def call() -> str:
        if failures:
            raise failures.pop()
        return "done"

    assert asyncio.run(when_available(call, pause=0)) == "done"
    with pytest.raises(JobsUnavailable, match="away; a request without `Prefer: respond-async` needs no job"):
        raise jobs_unavailable("away", 5)
