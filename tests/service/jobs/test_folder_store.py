"""What the folder job store promises beside tests/service/jobs/test_store.py."""

import asyncio
import errno
import threading
from collections.abc import Awaitable, Callable, Coroutine
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from service.errors import JobConflict, JobsUnavailable
from service.jobs.folder import JobFolder
from service.jobs.folder_store import FolderJobStore
from service.jobs.record import Delivery, DeliveryState
from service.jobs.store import ClaimLost
from service.pipeline.requests import InputFiles
from tests.service.jobs.stores import FILES, SUCCESS, Bench, owned


def test_folder_of_another_process_is_taken_over_when_that_ends(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    other = JobFolder(tmp_path / "jobs")
    other.open()
    other.create(owned("one"), FILES)

    async def scenario() -> None:
        bench = Bench(tmp_path, None)
        store = bench.folder_store()
        await store.open()
        assert bench.trouble_of(store)
        for call in (store.find("one"), store.create(owned("two"), FILES)):
            with pytest.raises(JobsUnavailable, match="cannot be used: another service uses it") as refused:
                await call
            assert refused.value.retry_after == 60
        await store.sweep()
        other.close()
        await store.sweep()
        assert not bench.trouble_of(store)
        assert await store.find("one") is not None
        await store.close()

    asyncio.run(scenario())
    unusable = f"no jobs: the folder of the jobs cannot be used: another service uses it ({tmp_path / 'jobs'})"
    assert [record.getMessage() for record in caplog.records] == [unusable, "jobs are available again"]


@pytest.mark.parametrize("method", ["exists", "open", "load", "size"])
def test_folder_that_cannot_be_read_at_once_is_taken_over_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    def fail(_folder: JobFolder, *_arguments: Any) -> Any:
        raise OSError(errno.EMFILE, "Too many open files")

    async def scenario() -> None:
        bench = Bench(tmp_path, None)
        before = bench.folder_store()
        await before.create(owned("one"), FILES)
        await before.close()
        store = bench.folder_store()
        with monkeypatch.context() as patched:
            patched.setattr(JobFolder, method, fail)
            await store.open()
            await store.sweep()
            assert "Too many open files" in (bench.trouble_of(store) or "")
        await store.sweep()
        assert not bench.trouble_of(store)
        assert await store.find("one") is not None
        await store.close()

    asyncio.run(scenario())


def test_folder_that_could_not_be_created_is_tried_again(tmp_path: Path) -> None:
    async def scenario() -> None:
        store = Bench(tmp_path / "away", None).folder_store()
        (tmp_path / "away").write_text("no folder")
        with pytest.raises(JobsUnavailable):
            await store.create(owned("one"), FILES)
        (tmp_path / "away").unlink()
        await store.sweep()
        assert (await store.create(owned("one"), FILES))[1]
        await store.close()

    asyncio.run(scenario())


def test_folder_is_taken_over_though_whoever_began_that_is_cancelled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cancelled = threading.Event()
    hold_back("load", cancelled, monkeypatch)

    async def scenario() -> None:
        bench = Bench(tmp_path, None)
        before = bench.folder_store()
        await before.create(owned("one"), FILES)
        await before.close()
        store = bench.folder_store()
        taking = asyncio.create_task(store.sweep())
        await asyncio.sleep(0)
        taking.cancel()
        cancelled.set()
        await asyncio.wait((taking,))
        await store.sweep()
        assert await store.find("one") is not None
        await store.close()

    asyncio.run(scenario())


def cancel_within(name: str, patch: pytest.MonkeyPatch) -> Callable[[Coroutine[Any, Any, Any]], Awaitable[None]]:
    """Runs calls of a store, each of which is cancelled when that method of the folder begins."""
    method, calls = getattr(JobFolder, name), list[asyncio.Task[Any]]()

    def cancelling(self: JobFolder, *arguments: Any) -> Any:
        for call in calls:
            call.get_loop().call_soon_threadsafe(call.cancel)
        return method(self, *arguments)

    async def run(call: Coroutine[Any, Any, Any]) -> None:
        calls.append(asyncio.create_task(call))
        with pytest.raises(asyncio.CancelledError):
            await calls[-1]

    patch.setattr(JobFolder, name, cancelling)
    return run


def test_what_is_written_for_a_call_that_is_cancelled_is_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        store = Bench(tmp_path, None).folder_store()
        await store.open()
        with monkeypatch.context() as patched:
            await cancel_within("create", patched)(store.create(owned("one"), FILES))
        assert not (await store.create(owned("one"), FILES))[1]
        claim = await store.claim_run()
        assert claim is not None
        with monkeypatch.context() as patched:
            await cancel_within("finish", patched)(store.finish(claim, SUCCESS, b"painted"))
        await store.release(claim)
        found = await store.find("one")
        assert found is not None
        assert (found.outcome, await store.claim_run()) == (SUCCESS, None)
        await store.close()

    asyncio.run(scenario())


def test_folder_appears_with_the_first_job(tmp_path: Path) -> None:
    async def scenario() -> None:
        store = Bench(tmp_path, None).folder_store()
        await store.open()
        assert await store.find("one") is None
        assert not (tmp_path / "jobs").exists()
        await store.create(owned("one"), FILES)
        assert (tmp_path / "jobs" / "one").exists()
        await store.close()

    asyncio.run(scenario())


def hold_back(name: str, event: threading.Event, patch: pytest.MonkeyPatch) -> None:
    """Let a method of the folder do its work only after the event, or some time without it."""
    method = getattr(JobFolder, name)

    def later(self: JobFolder, *arguments: Any) -> Any:
        event.wait(0.3)
        return method(self, *arguments)

    patch.setattr(JobFolder, name, later)


async def replace_job(store: FolderJobStore, replaced: threading.Event) -> None:
    """Delete a job, and create another one of the same id."""
    await store.remove("one")
    await store.create(owned("one", callback="https://example.com/"), InputFiles(b"new"))
    replaced.set()


async def end_next(store: FolderJobStore) -> None:
    """Claim the next job and end it."""
    claim = await store.claim_run()
    assert claim is not None
    await store.finish(claim, SUCCESS, b"painted")


def test_state_of_a_webhook_is_not_written_beside_the_next_job_of_its_id(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replaced = threading.Event()
    hold_back("write_delivery", replaced, monkeypatch)

    async def scenario() -> None:
        bench = Bench(tmp_path, None)
        store = bench.folder_store()
        await store.open()
        await store.create(owned("one", callback="https://example.com/"), FILES)
        await end_next(store)
        claim = await store.claim_delivery()
        assert claim is not None
        delivered = Delivery(state=DeliveryState.DELIVERED, attempts=1)
        await asyncio.gather(store.write_delivery(claim, delivered), replace_job(store, replaced))
        await end_next(store)
        await store.close()
        bench.pass_seconds(60)
        again = bench.folder_store()
        await again.open()
        assert await again.claim_delivery() is not None
        await again.close()

    asyncio.run(scenario())


def test_job_that_is_replaced_while_it_is_claimed_has_nothing_of_the_next_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replaced = threading.Event()
    hold_back("begin", replaced, monkeypatch)

    async def scenario() -> None:
        store = Bench(tmp_path, None).folder_store()
        await store.open()
        await store.create(owned("one"), InputFiles(b"old"))
        old, _ = await asyncio.gather(store.claim_run(), replace_job(store, replaced))
        assert old is not None
        with pytest.raises(ClaimLost):
            await store.files(old)
        new = await store.claim_run()
        assert new is not None
        assert (await store.files(new), new.attempts) == (InputFiles(b"new"), 0)
        await store.close()

    asyncio.run(scenario())


def test_job_whose_files_cannot_be_counted_begins_and_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_folder: JobFolder, _job: str) -> int:
        raise OSError(errno.EMFILE, "Too many open files")

    async def scenario() -> None:
        store = Bench(tmp_path, None).folder_store()
        await store.open()
        monkeypatch.setattr(JobFolder, "size", fail)
        assert (await store.create(owned("one"), FILES))[1]
        assert store.counts.bytes == len(b"imagemask")
        await end_next(store)
        found = await store.find("one")
        assert found is not None
        assert (found.outcome, store.counts.bytes) == (SUCCESS, len(b"painted"))
        await store.close()

    asyncio.run(scenario())


def test_result_that_cannot_be_written_is_a_failure(tmp_path: Path) -> None:
    async def scenario() -> None:
        store = Bench(tmp_path, None).folder_store()
        await store.open()
        await store.create(owned("one"), FILES)
        claim = await store.claim_run()
        assert claim is not None
        (tmp_path / "jobs").rename(tmp_path / "elsewhere")
        outcome = await store.finish(claim, SUCCESS, b"painted")
        assert outcome.failure is not None
        assert outcome.failure.kind == "jobs-unavailable"
        await store.close()

    asyncio.run(scenario())


def test_job_whose_result_cannot_be_written_stays_failed(tmp_path: Path) -> None:
    """Clients were told so: it is not begun again by the next process."""

    async def scenario() -> None:
        bench = Bench(tmp_path, None)
        store = bench.folder_store()
        await store.open()
        await store.create(owned("one"), FILES)
        claim = await store.claim_run()
        assert claim is not None
        (tmp_path / "jobs" / "one" / "result").mkdir()
        failed = await store.finish(claim, SUCCESS.model_copy(update={"started": bench.now}), b"painted")
        assert failed.started == bench.now
        await store.close()
        following = bench.folder_store()
        await following.open()
        found = await following.find("one")
        assert found is not None
        assert found.outcome == failed
        assert await following.claim_run() is None
        await following.close()

    asyncio.run(scenario())


@pytest.mark.parametrize("restarted", [False, True])
def test_webhook_does_not_wait_for_a_clock_that_was_set_back(tmp_path: Path, *, restarted: bool) -> None:
    async def scenario() -> None:
        bench = Bench(tmp_path, None)
        store = bench.folder_store()
        await store.create(owned("one", callback="https://example.com/"), FILES)
        claim = await store.claim_run()
        assert claim is not None
        await store.finish(claim, SUCCESS)
        delivering = await store.claim_delivery()
        assert delivering is not None
        await store.write_delivery(delivering, Delivery(attempts=1, next_at=bench.now + timedelta(minutes=50)))
        assert await store.claim_delivery() is None
        bench.pass_seconds(-86_400)
        if restarted:
            await store.close()
            store = bench.folder_store()
            await store.open()
        again = await store.claim_delivery()
        assert again is not None
        assert again.delivery.attempts == 1
        await store.close()

    asyncio.run(scenario())


def test_id_of_a_job_that_cannot_be_read_is_taken(tmp_path: Path) -> None:
    async def scenario() -> None:
        bench = Bench(tmp_path, None)
        store = bench.folder_store()
        await store.create(owned("key@one"), FILES)
        await store.close()
        (tmp_path / "jobs" / "key@one" / "job.json").write_text("{}")
        following = bench.folder_store()
        await following.open()
        with pytest.raises(JobConflict, match="a job 'one' already, which this version cannot read"):
            await following.create(owned("key@one"), FILES)
        await following.create(owned("key@two"), FILES)
        await following.close()

    asyncio.run(scenario())


@pytest.mark.parametrize("is_result", [False, True])
def test_operator_is_told_while_nothing_can_be_written(
    is_result: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As on a full disk; what was written before is still known."""

    async def scenario() -> None:
        store = Bench(tmp_path, None).folder_store()
        await store.open()
        await store.create(owned("one"), FILES)
        claim = await store.claim_run()
        assert claim is not None
        (tmp_path / "jobs").rename(tmp_path / "elsewhere")
        (tmp_path / "jobs").symlink_to("/proc")
        if is_result:
            await store.finish(claim, SUCCESS, b"painted")
        else:
            with pytest.raises(JobsUnavailable):
                await store.create(owned("two"), FILES)
        await store.sweep()
        troubles = [store.trouble]
        assert await store.find("one") is not None
        (tmp_path / "jobs").unlink()
        (tmp_path / "elsewhere").rename(tmp_path / "jobs")
        await store.sweep()
        troubles.append(store.trouble)
        assert troubles == ["the folder of the jobs cannot be written: No such file or directory", None]
        assert (await store.create(owned("two"), FILES))[1]
        await store.close()

    asyncio.run(scenario())
    told = [record.message for record in caplog.records if record.levelname == "WARNING"]
    assert told[0].startswith("no jobs: ")
    assert told[-1] == "jobs are available again"
