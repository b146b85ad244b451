"""The job store of one replica: a folder, whose jobs are all in memory as well."""

import asyncio
import errno
import logging
import uuid
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta

from service.errors import JobsUnavailable
from service.jobs.delivery_places import FullPlaces
from service.jobs.folder import JobFolder
from service.jobs.job import Job, JobState, public_id
from service.jobs.job_table import JobTable, KeptJob
from service.jobs.record import Delivery, JobOutcome, JobProgress, JobRecord
from service.jobs.refusals import jobs_unavailable, no_room_for_result, taken_by_unreadable, too_many_bytes
from service.jobs.store import NOBODY, ClaimLost, DeliveryClaim, JobCounts, RunClaim
from service.jobs.uninterrupted import uninterrupted
from service.pipeline.requests import InputFiles
from service.settings import Settings
from service.telemetry.metrics import Metrics

SWEEP_SECONDS = 60.0

RETRY_SECONDS = 60
"""After how long a folder that cannot be used is tried again."""

logger = logging.getLogger(__name__)


def now() -> datetime:
    """The time of this machine."""
    return datetime.now(UTC)


class FolderJobStore:
    """The jobs of a folder, which may belong to another process for the time being. Claims last as long as it is open.

    A folder that does not exist is created with the first job. Times are those of `clock`.
    """

    poll_seconds: float | None = None
    renew_seconds: float | None = None

    def __init__(self, settings: Settings, metrics: Metrics, clock: Callable[[], datetime] = now) -> None:
        self.sweep_seconds = min(SWEEP_SECONDS, settings.job_seconds)
        self._settings = settings
        self._metrics = metrics
        self._clock = clock
        self._folder = JobFolder(settings.jobs_folder)
        self._table = JobTable(settings.max_jobs, settings.job_bytes)
        self._changing = asyncio.Lock()
        """Held by whoever adds or deletes a job, or uses the files of a claimed one: its id is no other's then."""
        self._trouble: str | None = None
        self._unwritten: str | None = None
        """Why nothing can be written, as on a full disk; what is there is still told."""
        self._wanted = 0
        """Bytes that could not be written then."""

    @property
    def trouble(self) -> str | None:
        """Why the folder cannot be used; None where it can, or was not needed yet."""
        return self._trouble or self._unwritten

    @property
    def counts(self) -> JobCounts:
        """How much is kept."""
        return self._table.counts

    async def open(self) -> None:
        """Take over the jobs that an earlier process has left."""
        async with self._changing:
            await self._take_over(create=False)

    async def close(self) -> None:
        """Release the lock of the folder."""
        await asyncio.to_thread(self._folder.close)

    async def create(self, record: JobRecord, files: InputFiles, most_of_owner: int | None = None) -> tuple[Job, bool]:
        """See JobStore."""
        async with self._changing:
            if not self._folder.is_open and self._trouble is None:
                await self._take_over(create=True)
            self._require_folder()
            if (known := self._table.find(record.id)) is not None:
                return known.job, False
            self._table.require_place(record.owner, most_of_owner)
            size = len(files.image) + len(files.mask or b"")
            if not self._table.admits(size) or not await self._make_room(size):
                raise too_many_bytes(size, self._settings.job_bytes)
            return await uninterrupted(self._write(record, files)), True

    async def find(self, job_id: str) -> Job | None:
        """See JobStore."""
        kept = self._table.find(job_id)
        if kept is None:
            self._require_folder()
        return kept.job if kept is not None else None

    async def result(self, job_id: str) -> bytes:
        """See JobStore."""
        return await asyncio.to_thread(self._folder.result, job_id)

    async def remove(self, job_id: str) -> JobState | None:
        """See JobStore."""
        async with self._changing:
            kept = self._table.find(job_id)
            if kept is None:
                self._require_folder()
                return None
            await uninterrupted(self._delete(job_id))
            return kept.job.state

    async def claim_run(self) -> RunClaim | None:
        """See JobStore."""
        token = uuid.uuid4().hex
        async with self._changing:
            job = self._table.take(token)
            if job is None:
                return None
            return RunClaim(job.record, token, await asyncio.to_thread(self._begin, job.record.id))

    async def files(self, claim: RunClaim) -> InputFiles:
        """See JobStore. Raises OSError where they cannot be read."""
        async with self._changing:
            self._claimed(claim)
            return await asyncio.to_thread(self._folder.files, claim.record.id)

    async def renew(self, claim: RunClaim, progress: JobProgress) -> None:
        """Claims last: nothing is to be done."""

    async def release(self, claim: RunClaim) -> None:
        """See JobStore."""
        async with self._changing:
            with suppress(ClaimLost):
                if self._claimed(claim).job.outcome is None:
                    await self._put_back(claim.record.id)

    async def finish(self, claim: RunClaim, outcome: JobOutcome, content: bytes = b"") -> JobOutcome:
        """See JobStore."""
        async with self._changing:
            kept = self._claimed(claim)
            if kept.job.outcome is not None:
                return kept.job.outcome
            return await uninterrupted(self._end(claim.record.id, outcome, content))

    async def claim_delivery(self, full: FullPlaces = NOBODY) -> DeliveryClaim | None:
        """See JobStore."""
        token = uuid.uuid4().hex
        kept = self._table.claim_delivery(self._clock(), token, full)
        return DeliveryClaim(kept.job, kept.delivery, token) if kept is not None and kept.delivery is not None else None

    def seconds_to_delivery(self, full: FullPlaces = NOBODY) -> float | None:
        """See JobStore."""
        due = self._table.next_delivery(full)
        return None if due is None else max(0.0, (due - self._clock()).total_seconds())

    async def write_delivery(self, claim: DeliveryClaim, delivery: Delivery) -> None:
        """See JobStore. What cannot be written is known until this process ends."""
        job_id = claim.job.record.id
        async with self._changing:
            kept = self._table.find(job_id)
            if kept is None or kept.delivery_token != claim.token:
                raise ClaimLost
            self._table.end_delivery(job_id, delivery)
            try:
                await asyncio.to_thread(self._folder.write_delivery, job_id, delivery)
            except OSError:
                logger.exception("job %s: the state of its webhook cannot be written", job_id)

    async def sweep(self) -> None:
        """See JobStore."""
        async with self._changing:
            if not self._folder.is_open:
                await self._take_over(create=False)  # the process that held the folder may have ended
            await self._make_room(0)
            if self._unwritten is not None:
                await asyncio.to_thread(self._try_writing)

    async def _end(self, job_id: str, outcome: JobOutcome, content: bytes) -> JobOutcome:
        """Write how a job ended, or that its result is too large or cannot be written; return which."""
        self._table.resize(job_id, 0)  # its input goes
        if not await self._make_room(len(content)):
            failed = JobOutcome.failed(no_room_for_result(len(content), self._settings.job_bytes))
            outcome, content = failed.model_copy(update={"started": outcome.started}), b""
        outcome = await asyncio.to_thread(self._write_outcome, job_id, outcome, content)
        size = await asyncio.to_thread(self._size, job_id, len(content))
        self._table.end(job_id, outcome, size, self._clock())
        return outcome

    def _claimed(self, claim: RunClaim) -> KeptJob:
        """The job of a claim. Raises ClaimLost, also where another job has its id by now."""
        kept = self._table.find(claim.record.id)
        if kept is None or kept.token != claim.token:
            raise ClaimLost
        return kept

    async def _put_back(self, job_id: str) -> None:
        """A job waits again, and the attempt at it does not count."""
        self._table.put_back(job_id)
        try:
            await asyncio.to_thread(self._folder.interrupt, job_id)
        except OSError:
            logger.exception("job %s: the attempt at it counts, since that cannot be written", job_id)

    async def _write(self, record: JobRecord, files: InputFiles) -> Job:
        """A new job, on the disk already. Raises JobsUnavailable; JobConflict where one lies there unread."""
        least = len(files.image) + len(files.mask or b"")
        try:
            await asyncio.to_thread(self._folder.create, record, files)
        except OSError as error:
            if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
                raise taken_by_unreadable(public_id(record.id)) from error
            self._note_writing(error, least)
            raise jobs_unavailable(f"the job cannot be written: {error.strerror}", RETRY_SECONDS) from error
        self._note_writing(None)
        kept = KeptJob(Job(record), await asyncio.to_thread(self._size, record.id, least))
        self._table.add(kept)
        return kept.job

    async def _make_room(self, wanted: int) -> bool:
        """Delete expired jobs, then the oldest ended ones, until `wanted` bytes fit. Returns whether they do."""
        expired = self._clock() - timedelta(seconds=self._settings.job_seconds)
        while (job_id := self._table.to_remove(wanted, expired)) is not None:
            await self._delete(job_id)
        return self._table.has_room(wanted)

    async def _delete(self, job_id: str) -> None:
        """Forget a job and its webhook, and delete its files."""
        if self._table.remove(job_id).has_pending_delivery:
            self._metrics.webhooks.labels("dropped").inc()
        try:
            await asyncio.to_thread(self._folder.remove, job_id)
        except OSError:
            logger.exception("job %s is forgotten, but remains on the disk", job_id)

    def _begin(self, job_id: str) -> int:
        """How often a job was begun before. Blocks."""
        try:
            return self._folder.begin(job_id)
        except FileNotFoundError:  # it was just deleted
            return 0
        except (OSError, ValueError):
            logger.exception("job %s: attempts at it cannot be counted", job_id)
            return 0

    def _size(self, job_id: str, least: int) -> int:
        """Bytes of a job's files; `least` where they cannot be counted. Blocks."""
        try:
            return self._folder.size(job_id)
        except OSError:
            logger.exception("job %s: its files cannot be counted", job_id)
            return least

    def _write_outcome(self, job_id: str, outcome: JobOutcome, content: bytes) -> JobOutcome:
        """The outcome, or the failure to write it, which is written in its place if that is possible. Blocks."""
        try:
            self._folder.finish(job_id, outcome, content)
        except OSError as error:
            logger.exception("the result of job %s cannot be written", job_id)
            self._note_writing(error, len(content))
            failed = JobOutcome.failed(JobsUnavailable(f"the result cannot be written: {error.strerror}"))
            return self._write_failure(job_id, failed.model_copy(update={"started": outcome.started}))
        return outcome

    def _write_failure(self, job_id: str, failed: JobOutcome) -> JobOutcome:
        """The failure, of which this process alone knows where it cannot be written. Blocks."""
        try:
            self._folder.finish(job_id, failed)
        except OSError:
            logger.exception("job %s has failed, but is begun again by the next process", job_id)
        return failed

    def _try_writing(self) -> None:
        """Find out whether there is room again for what could not be written. Blocks."""
        try:
            self._folder.try_writing(self._wanted)
        except OSError as error:
            self._note_writing(error, self._wanted)
        else:
            self._note_writing(None)

    def _note_writing(self, error: OSError | None, wanted: int = 0) -> None:
        """Log whether jobs can be written, where that is new; `wanted`: the bytes that could not."""
        before, self._wanted = self._unwritten, wanted
        self._unwritten = None if error is None else f"the folder of the jobs cannot be written: {error.strerror}"
        self._tell(before, self._unwritten)

    def _tell(self, before: str | None, trouble: str | None) -> None:
        if trouble not in (before, None):
            logger.warning("no jobs: %s (%s)", trouble, self._settings.jobs_folder)
        elif trouble is None and before is not None:
            logger.warning("jobs are available again")

    async def _take_over(self, *, create: bool) -> None:
        """Lock the folder, and take over its jobs; where it does not exist, only if it is to be created."""
        await uninterrupted(self._take_over_whole(create))

    async def _take_over_whole(self, create: bool) -> None:
        try:
            for kept in await asyncio.to_thread(self._open_and_load, create):
                self._table.add(kept)
        except OSError as error:
            self._note_folder(f"the folder of the jobs cannot be used: {error.strerror}")
        else:
            self._note_folder(None)

    def _note_folder(self, trouble: str | None) -> None:
        """Log whether the folder can be used, where that is new."""
        before, self._trouble = self._trouble, trouble
        self._tell(before, trouble)

    def _open_and_load(self, create: bool) -> list[KeptJob]:
        """The jobs of the folder, which is open only where all of them could be read. Blocks."""
        if not create and not self._folder.exists():
            return []
        self._folder.open()
        try:
            return self._load()
        except BaseException:
            self._folder.close()
            raise

    def _load(self) -> list[KeptJob]:
        """The jobs of the folder. Blocks."""
        return [
            KeptJob(
                Job(record, outcome),
                self._folder.size(record.id),
                self._folder.delivery(record.id) if outcome is not None and record.callback is not None else None,
            )
            for record, outcome in self._folder.load()
        ]

    def _require_folder(self) -> None:
        """Raises JobsUnavailable."""
        if self._trouble is not None:
            raise jobs_unavailable(self._trouble, RETRY_SECONDS)
