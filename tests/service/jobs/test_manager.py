"""The job queue without HTTP; over HTTP it is tested in http/routes/test_jobs.py."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from model_store import ModelStore
from service.app import Service, build_service
from service.errors import JobConflict, JobsUnavailable, UnknownJob
from service.imaging.codecs import ImageFormat, inspect
from service.jobs import folder_store
from service.jobs.folder import JobFolder
from service.jobs.folder_store import FolderJobStore
from service.jobs.job import Job, JobState
from service.jobs.manager import JobManager
from service.jobs.record import JobRecord
from service.jobs.runner import JobRunner
from service.pipeline.coalescing import RequestCoalescer
from service.pipeline.requests import InputFiles, StylizeRequest
from service.pipeline.result import FinishedImage
from service.pipeline.trace import Trace
from tests.service.imaging.images import file, photo
from tests.service.live import publish, settings, worker_launcher

REQUEST = StylizeRequest(style="wave", formats=(ImageFormat.PNG,))
FILES = InputFiles(file(photo()))

Scenario = Callable[[JobManager], Awaitable[None]]


def with_queue(root: Path, scenario: Scenario, **options: Any) -> Service:
    """Run a scenario with the queue of a service that runs."""
    publish(root) if not ModelStore(root).names() else None
    service = build_service(settings(root, **options), launcher=worker_launcher())

    async def run() -> None:
        async with service.lifespan(service.app):
            async with asyncio.timeout(60):
                await scenario(service.jobs)

    asyncio.run(run())
    return service


async def put(queue: JobManager, name: str = "one", request: StylizeRequest = REQUEST) -> tuple[Job, bool]:
    return await queue.put(name, request, FILES, Trace("id"))


def test_job_runs_and_its_result_is_kept(tmp_path: Path) -> None:
    async def scenario(queue: JobManager) -> None:
        assert (await put(queue))[1]
        job = await queue.wait("one")
        assert job.state is JobState.SUCCEEDED
        assert inspect(await queue.result(job)).format is ImageFormat.PNG
        assert await queue.find("one") == job

    service = with_queue(tmp_path / "store", scenario)
    value = service.metrics.registry.get_sample_value
    assert value("pastiche_jobs_ended_total", {"state": "succeeded"}) == 1
    assert (value("pastiche_jobs_bytes") or 0) > 0


def test_result_that_is_gone_is_told_from_a_job_that_is(tmp_path: Path) -> None:
    async def scenario(queue: JobManager) -> None:
        await put(queue)
        job = await queue.wait("one")
        (tmp_path / "store-jobs" / "one" / "result").unlink()
        with pytest.raises(UnknownJob, match="is gone from its store; delete the job, and begin it again"):
            await queue.result(job)
        await queue.remove("one")
        with pytest.raises(UnknownJob, match="has been deleted"):
            await queue.result(job)

    with_queue(tmp_path / "store", scenario)


def test_equal_request_is_the_same_job_and_another_one_a_conflict(tmp_path: Path) -> None:
    async def scenario(queue: JobManager) -> None:
        await put(queue)
        hurried = REQUEST.model_copy(update={"timeout": 30.0})
        job, new = await put(queue, request=hurried)
        assert (job.record.id, new) == ("one", False)
        with pytest.raises(JobConflict):
            await put(queue, request=REQUEST.model_copy(update={"formats": (ImageFormat.WEBP,)}))

    with_queue(tmp_path / "store", scenario)


def test_job_that_ran_out_of_time_names_all_the_time_that_it_had(tmp_path: Path) -> None:
    async def scenario(queue: JobManager) -> None:
        await put(queue)
        await queue.wait("one")  # the model is loaded
        await put(queue, "two", REQUEST.model_copy(update={"timeout": 0.001}))
        job = await queue.wait("two")
        assert job.outcome is not None
        assert job.outcome.failure is not None
        assert job.outcome.failure.kind == "deadline-exceeded"
        assert "not done in 0.001 s" in job.outcome.failure.detail

    with_queue(tmp_path / "store", scenario)


def test_removed_job_is_unknown(tmp_path: Path) -> None:
    async def scenario(queue: JobManager) -> None:
        await put(queue)
        await queue.remove("one")
        for missing in ("one", "never"):
            with pytest.raises(UnknownJob, match="kept for 2592000 s at most"):
                await queue.find(missing)

    with_queue(tmp_path / "store", scenario, job_seconds=2592000.0)


def test_job_is_stopped_though_the_client_that_removes_it_leaves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    remove = JobFolder.remove

    async def scenario(queue: JobManager) -> None:
        begun, stopped, loop = asyncio.Event(), asyncio.Event(), asyncio.get_running_loop()

        async def run(_coalescer: RequestCoalescer, *_arguments: object) -> FinishedImage:
            begun.set()
            try:
                await asyncio.Event().wait()
            finally:
                stopped.set()
            raise AssertionError

        def leave(folder: JobFolder, job: str) -> None:
            loop.call_soon_threadsafe(removing.cancel)
            remove(folder, job)

        monkeypatch.setattr(RequestCoalescer, "run", run)
        monkeypatch.setattr(JobFolder, "remove", leave)
        await put(queue)
        await begun.wait()
        removing = asyncio.create_task(queue.remove("one"))
        async with asyncio.timeout(10):
            await stopped.wait()
        with pytest.raises(UnknownJob):
            await queue.find("one")

    service = with_queue(tmp_path / "store", scenario)
    assert service.metrics.registry.get_sample_value("pastiche_jobs_ended_total", {"state": "cancelled"}) == 1


def test_job_runs_though_its_client_leaves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    create = JobFolder.create

    async def scenario(queue: JobManager) -> None:
        loop = asyncio.get_running_loop()

        def leave(folder: JobFolder, record: JobRecord, files: InputFiles) -> None:
            loop.call_soon_threadsafe(putting.cancel)
            create(folder, record, files)

        monkeypatch.setattr(JobFolder, "create", leave)
        putting = asyncio.create_task(put(queue))
        await asyncio.wait((putting,))
        assert putting.cancelled()
        async with asyncio.timeout(30):
            assert (await queue.wait("one")).state is JobState.SUCCEEDED

    with_queue(tmp_path / "store", scenario)


def test_sweep_that_fails_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    failures, swept = [ValueError("unexpected"), OSError("unexpected")], asyncio.Event()

    async def sweep(_store: FolderJobStore) -> None:
        if failures:
            raise failures.pop()
        swept.set()

    async def scenario(queue: JobManager) -> None:
        async with asyncio.timeout(30):
            await swept.wait()
        assert (await put(queue))[1]

    monkeypatch.setattr(FolderJobStore, "sweep", sweep)
    monkeypatch.setattr(folder_store, "SWEEP_SECONDS", 0.01)
    with_queue(tmp_path / "store", scenario)


def test_folder_of_another_service_is_refused_with_the_reason(tmp_path: Path) -> None:
    other = JobFolder(tmp_path / "store-jobs")
    other.open()

    async def scenario(queue: JobManager) -> None:
        with pytest.raises(JobsUnavailable, match="cannot be used"):
            await put(queue)

    with_queue(tmp_path / "store", scenario)
    other.close()


def test_job_that_is_stopped_while_it_is_queued_lets_nobody_wait(tmp_path: Path) -> None:
    async def scenario(queue: JobManager) -> None:
        waiting = []
        for name in ("one", "two", "three"):
            await put(queue, name)
            waiting.append(asyncio.create_task(queue.wait(name)))
        await queue.stop()
        jobs = await asyncio.gather(*waiting)
        assert jobs[-1].outcome is None  # it is left to the next process

    with_queue(tmp_path / "store", scenario, max_running_jobs=1)


def test_store_is_closed_though_jobs_cannot_be_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(_runner: JobRunner) -> None:
        raise OSError("the jobs cannot be stopped")

    async def scenario(queue: JobManager) -> None:
        await put(queue)
        await queue.wait("one")
        with monkeypatch.context() as patched:
            patched.setattr(JobRunner, "stop", fail)
            with pytest.raises(OSError, match="the jobs cannot be stopped"):
                await queue.stop()
        other = JobFolder(tmp_path / "store-jobs")
        other.open()
        other.close()

    with_queue(tmp_path / "store", scenario)
