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
from service.jobs.job import Job, JobState
from service.jobs.manager import JobManager
from service.jobs.store import JobStore
from service.pipeline.requests import InputFiles, StylizeRequest
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
        job, new = await put(queue)
        assert new
        await job.ended.wait()
        assert job.state is JobState.SUCCEEDED
        assert inspect(await queue.result(job)).format is ImageFormat.PNG
        assert queue.find("one") is job

    service = with_queue(tmp_path / "store", scenario)
    value = service.metrics.registry.get_sample_value
    assert value("pastiche_jobs_ended_total", {"state": "succeeded"}) == 1
    assert (value("pastiche_jobs_bytes") or 0) > 0


def test_equal_request_is_the_same_job_and_another_one_a_conflict(tmp_path: Path) -> None:
    async def scenario(queue: JobManager) -> None:
        job, _ = await put(queue)
        hurried = REQUEST.model_copy(update={"timeout": 30.0})
        assert await put(queue, request=hurried) == (job, False)
        with pytest.raises(JobConflict):
            await put(queue, request=REQUEST.model_copy(update={"formats": (ImageFormat.WEBP,)}))

    with_queue(tmp_path / "store", scenario)


def test_job_that_ran_out_of_time_names_all_the_time_that_it_had(tmp_path: Path) -> None:
    async def scenario(queue: JobManager) -> None:
        first, _ = await put(queue)
        await first.ended.wait()  # the model is loaded
        job, _ = await put(queue, "two", REQUEST.model_copy(update={"timeout": 0.001}))
        await job.ended.wait()
        assert job.outcome is not None
        assert job.outcome.failure is not None
        assert job.outcome.failure.kind == "deadline-exceeded"
        assert "not done in 0.001 s" in job.outcome.failure.detail

    with_queue(tmp_path / "store", scenario)


def test_removed_job_is_unknown(tmp_path: Path) -> None:
    async def scenario(queue: JobManager) -> None:
        job, _ = await put(queue)
        await queue.remove("one")
        assert job.ended.is_set()
        for missing in ("one", "never"):
            with pytest.raises(UnknownJob):
                queue.find(missing)

    with_queue(tmp_path / "store", scenario)


def test_folder_of_another_service_is_refused_with_the_reason(tmp_path: Path) -> None:
    other = JobStore(tmp_path / "store-jobs")
    other.open()

    async def scenario(queue: JobManager) -> None:
        with pytest.raises(JobsUnavailable, match="cannot be used"):
            await put(queue)

    with_queue(tmp_path / "store", scenario)
    other.close()


def test_job_that_is_stopped_while_it_is_queued_lets_nobody_wait(tmp_path: Path) -> None:
    async def scenario(queue: JobManager) -> None:
        jobs = [(await put(queue, name))[0] for name in ("one", "two", "three")]
        await queue.stop()
        async with asyncio.timeout(30):
            for job in jobs:
                await job.ended.wait()
        assert jobs[-1].outcome is None  # it is left to the next process

    with_queue(tmp_path / "store", scenario, max_running_jobs=1)
