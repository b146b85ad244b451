"""The job queue without HTTP; over HTTP it is tested in http/routes/test_jobs.py."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from model_store import ModelStore
from service.app import Service, build_service
from service.errors import CorruptImage, JobConflict, JobsUnavailable, Overloaded, TooManyJobs, UnknownJob
from service.imaging.codecs import ImageFormat, inspect
from service.jobs.job import Job, JobState
from service.jobs.queue import MAX_ATTEMPTS, JobQueue
from service.jobs.store import JobStore
from service.pipeline.coalescing import RequestCoalescer
from service.pipeline.requests import InputFiles, StylizeRequest
from service.pipeline.resolve import Deadline, ResolvedRequest
from service.pipeline.result import FinishedImage
from service.pipeline.trace import Trace
from service.telemetry.metrics import Metrics
from tests.service.imaging.images import file, photo
from tests.service.jobs.test_store import record
from tests.service.live import publish, settings

REQUEST = StylizeRequest(style="wave", formats=(ImageFormat.PNG,))
FILES = InputFiles(file(photo()))

Scenario = Callable[[JobQueue], Awaitable[None]]


def with_queue(root: Path, scenario: Scenario, **options: Any) -> Service:
    """Run a scenario with the queue of a service that runs."""
    publish(root) if not ModelStore(root).names() else None
    service = build_service(settings(root, **options))

    async def run() -> None:
        async with service.lifespan(service.app):
            async with asyncio.timeout(60):
                await scenario(service.jobs)

    asyncio.run(run())
    return service


async def put(queue: JobQueue, name: str = "one", request: StylizeRequest = REQUEST) -> tuple[Job, bool]:
    return await queue.put(name, request, FILES, Trace("id"))


def test_job_runs_and_its_result_is_kept(tmp_path: Path) -> None:
    async def scenario(queue: JobQueue) -> None:
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
    async def scenario(queue: JobQueue) -> None:
        job, _ = await put(queue)
        hurried = REQUEST.model_copy(update={"timeout": 30.0})
        assert await put(queue, request=hurried) == (job, False)
        with pytest.raises(JobConflict):
            await put(queue, request=REQUEST.model_copy(update={"formats": (ImageFormat.WEBP,)}))

    with_queue(tmp_path / "store", scenario)


def test_no_more_jobs_are_accepted_than_the_settings_say(tmp_path: Path) -> None:
    async def scenario(queue: JobQueue) -> None:
        jobs = [(await put(queue, name))[0] for name in ("one", "two")]
        with pytest.raises(TooManyJobs) as refused:
            await put(queue, "three")
        assert refused.value.retry_after == 5
        for job in jobs:
            await job.ended.wait()
        assert (await put(queue, "three"))[1]

    with_queue(tmp_path / "store", scenario, max_jobs=2, max_running_jobs=1)


@pytest.mark.parametrize("named", [None, 40.0])
def test_attempts_share_the_timeout_of_their_job(tmp_path: Path, named: float | None) -> None:
    class Refusing(RequestCoalescer):
        """Refuses each request, and keeps how much time it had."""

        def __init__(self) -> None:
            self.deadlines: list[Deadline] = []

        async def run(self, request: ResolvedRequest, image: bytes, trace: Trace) -> FinishedImage:  # noqa: ARG002
            self.deadlines.append(request.deadline)
            raise Overloaded("full", retry_after=1) if len(self.deadlines) < 3 else CorruptImage("enough")

    async def scenario(queue: JobQueue) -> None:
        job, _ = await put(queue, request=REQUEST.model_copy(update={"timeout": named}))
        await job.ended.wait()

    publish(tmp_path / "store")
    service = build_service(settings(tmp_path / "store", job_timeout=40.0))
    coalescer = Refusing()

    async def run() -> None:
        async with service.lifespan(service.app):
            other = service.settings.model_copy(update={"jobs_folder": tmp_path / "jobs"})
            queue = JobQueue(other, service.models, coalescer, Metrics())
            await queue.open()
            await scenario(queue)
            await queue.stop()

    asyncio.run(run())
    seconds = [deadline.seconds for deadline in coalescer.deadlines]
    assert seconds[0] <= 40
    assert seconds[1] <= 39
    assert seconds[2] <= 38
    assert [deadline.is_default for deadline in coalescer.deadlines] == [named is None] * 3


def test_job_that_ran_out_of_time_names_all_the_time_that_it_had(tmp_path: Path) -> None:
    async def scenario(queue: JobQueue) -> None:
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
    async def scenario(queue: JobQueue) -> None:
        job, _ = await put(queue)
        await queue.remove("one")
        assert job.ended.is_set()
        for missing in ("one", "never"):
            with pytest.raises(UnknownJob):
                queue.find(missing)

    with_queue(tmp_path / "store", scenario)


def test_job_that_ended_the_process_too_often_is_given_up(tmp_path: Path) -> None:
    store = JobStore(tmp_path / "store-jobs")
    store.open()
    store.create(record("killer"), FILES)
    for _ in range(MAX_ATTEMPTS):
        store.begin("killer")
    store.close()

    async def scenario(queue: JobQueue) -> None:
        job = queue.find("killer")
        await job.ended.wait()
        assert job.outcome is not None
        assert job.outcome.failure is not None
        assert job.outcome.failure.kind == "job-lost"

    with_queue(tmp_path / "store", scenario)


def test_folder_of_another_service_is_refused_with_the_reason(tmp_path: Path) -> None:
    other = JobStore(tmp_path / "store-jobs")
    other.open()

    async def scenario(queue: JobQueue) -> None:
        with pytest.raises(JobsUnavailable, match="cannot be used"):
            await put(queue)

    with_queue(tmp_path / "store", scenario)
    other.close()


def test_job_that_is_stopped_while_it_is_queued_lets_nobody_wait(tmp_path: Path) -> None:
    async def scenario(queue: JobQueue) -> None:
        jobs = [(await put(queue, name))[0] for name in ("one", "two", "three")]
        await queue.stop()
        async with asyncio.timeout(30):
            for job in jobs:
                await job.ended.wait()
        assert jobs[-1].outcome is None  # it is left to the next process

    with_queue(tmp_path / "store", scenario, max_running_jobs=1)


def test_job_whose_end_cannot_be_recorded_lets_nobody_wait(tmp_path: Path) -> None:
    async def scenario(queue: JobQueue) -> None:
        job, _ = await put(queue)
        folder = tmp_path / "store-jobs"
        folder.rename(tmp_path / "elsewhere")
        folder.write_text("no folder")
        async with asyncio.timeout(30):
            await job.ended.wait()
        assert job.state in (JobState.FAILED, JobState.SUCCEEDED)

    with_queue(tmp_path / "store", scenario)
