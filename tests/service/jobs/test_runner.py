import asyncio
import errno
from pathlib import Path

import pytest

from service.app import build_job_manager, build_service
from service.errors import CorruptImage, OutOfResources, Overloaded
from service.jobs.folder import JobFolder
from service.jobs.folder_store import FolderJobStore
from service.jobs.job import JobState
from service.jobs.manager import JobManager
from service.jobs.record import JobOutcome
from service.jobs.runner import MAX_ATTEMPTS
from service.jobs.store import RunClaim
from service.models.load_failures import LoadFailures
from service.models.registry import ModelRegistry
from service.pipeline.coalescing import RequestCoalescer
from service.pipeline.requests import InputFiles
from service.pipeline.resolve import ResolvedRequest, Timeout
from service.pipeline.result import FinishedImage
from service.pipeline.trace import Trace
from service.telemetry.metrics import Metrics
from service.telemetry.tracing import Propagation
from tests.service.jobs.test_manager import FILES, REQUEST, put, with_queue
from tests.service.jobs.test_record import record
from tests.service.live import publish, settings


class Idle(RequestCoalescer):
    """Is never asked for anything."""

    def __init__(self) -> None:
        pass


@pytest.mark.parametrize("named", [None, 40.0])
def test_attempts_share_the_timeout_of_their_job(tmp_path: Path, named: float | None) -> None:
    class Refusing(RequestCoalescer):
        """Refuses each request, and keeps how much time it had."""

        def __init__(self) -> None:
            self.timeouts: list[Timeout] = []

        async def run(self, request: ResolvedRequest, image: bytes, trace: Trace) -> FinishedImage:  # noqa: ARG002
            self.timeouts.append(request.timeout)
            raise Overloaded("full", retry_after=1) if len(self.timeouts) < 3 else CorruptImage("enough")

    async def scenario(queue: JobManager) -> None:
        await put(queue, request=REQUEST.model_copy(update={"timeout": named}))
        await queue.wait("one")

    publish(tmp_path / "store")
    service = build_service(settings(tmp_path / "store", job_timeout=40.0))
    coalescer = Refusing()

    async def run() -> None:
        async with service.lifespan(service.app):
            other = service.settings.model_copy(update={"jobs_folder": tmp_path / "jobs"})
            queue = build_job_manager(other, service.models, coalescer, None, Metrics(), Propagation())
            await queue.open()
            await scenario(queue)
            await queue.stop()

    asyncio.run(run())
    seconds = [timeout.seconds for timeout in coalescer.timeouts]
    assert seconds[0] <= 40
    assert seconds[1] <= 39
    assert seconds[2] <= 38
    assert [timeout.deadline().is_default for timeout in coalescer.timeouts] == [named is None] * 3


def test_job_that_ended_the_process_too_often_is_given_up(tmp_path: Path) -> None:
    store = JobFolder(tmp_path / "store-jobs")
    store.open()
    store.create(record("killer"), FILES)
    for _ in range(MAX_ATTEMPTS):
        store.begin("killer")
    store.close()

    async def scenario(queue: JobManager) -> None:
        job = await queue.wait("killer")
        assert job.outcome is not None
        assert job.outcome.failure is not None
        assert job.outcome.failure.kind == "job-lost"

    with_queue(tmp_path / "store", scenario)


def test_job_is_not_begun_before_there_are_models(tmp_path: Path) -> None:
    async def end_before_there_are_models() -> None:
        queue = build_job_manager(
            settings(tmp_path / "store"),
            ModelRegistry(LoadFailures(1), Metrics()),
            Idle(),
            None,
            Metrics(),
            Propagation(),
        )
        await queue.open()
        await put(queue)
        await asyncio.sleep(0.05)
        assert (await queue.find("one")).state is JobState.QUEUED
        await queue.stop()

    async def scenario(queue: JobManager) -> None:
        assert (await queue.wait("one")).state is JobState.SUCCEEDED

    for _ in range(MAX_ATTEMPTS):
        asyncio.run(end_before_there_are_models())
    with_queue(tmp_path / "store", scenario)


def test_job_whose_end_cannot_be_recorded_lets_nobody_wait(tmp_path: Path) -> None:
    async def scenario(queue: JobManager) -> None:
        await put(queue)
        folder = tmp_path / "store-jobs"
        folder.rename(tmp_path / "elsewhere")
        folder.write_text("no folder")
        async with asyncio.timeout(30):
            job = await queue.wait("one")
        assert job.state in (JobState.FAILED, JobState.SUCCEEDED)

    with_queue(tmp_path / "store", scenario)


def test_job_whose_end_cannot_be_stored_has_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    finish, failures = FolderJobStore.finish, [ValueError("unexpected")]

    async def fail_once(
        store: FolderJobStore, claim: RunClaim, outcome: JobOutcome, content: bytes = b""
    ) -> JobOutcome:
        if failures:
            raise failures.pop()
        return await finish(store, claim, outcome, content)

    async def scenario(queue: JobManager) -> None:
        monkeypatch.setattr(FolderJobStore, "finish", fail_once)
        await put(queue)
        async with asyncio.timeout(30):
            job = await queue.wait("one")
        assert job.outcome is not None
        assert job.outcome.failure is not None
        assert job.outcome.failure.kind == "internal-error"

    with_queue(tmp_path / "store", scenario)


def test_job_whose_files_cannot_be_read_at_once_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read, failures = JobFolder.files, [OSError(errno.EMFILE, "Too many open files")]

    def fail_once(folder: JobFolder, job: str) -> InputFiles:
        if failures:
            raise failures.pop()
        return read(folder, job)

    async def scenario(queue: JobManager) -> None:
        monkeypatch.setattr(JobFolder, "files", fail_once)
        monkeypatch.setattr(OutOfResources, "RETRY_SECONDS", 0.1)
        await put(queue)
        assert (await queue.wait("one")).state is JobState.SUCCEEDED
        assert not failures

    with_queue(tmp_path / "store", scenario)
