"""The job store of several replicas: Redis, and for results also files at a URL.

Every change is a script, which Redis runs as one step. A claim is a token in the job: whoever has lost it cannot end
the job any more, however long it was paused.
"""

import asyncio
import json
import logging
import math
import uuid
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from typing import Any, cast

from pydantic import ValidationError
from redis import exceptions

from service.errors import JobsUnavailable
from service.jobs import redis_scripts as scripts
from service.jobs.delivery_places import FullPlaces
from service.jobs.job import Job, JobState
from service.jobs.record import Delivery, DeliveryState, JobOutcome, JobProgress, JobRecord
from service.jobs.redis_connections import ANSWER_SECONDS, CONNECT_SECONDS, redis_connections
from service.jobs.refusals import jobs_unavailable, no_room_for_result, too_many_bytes, too_many_jobs, too_many_of_owner
from service.jobs.result_objects import ResultObjects
from service.jobs.store import MAX_KEPT, NOBODY, ClaimLost, DeliveryClaim, JobCounts, RunClaim, most_unfinished_bytes
from service.pipeline.requests import InputFiles
from service.settings import Settings
from service.telemetry.metrics import Metrics

PREFIX = "pastiche:{jobs}:"
"""Before the names of all keys."""

RETRY_SECONDS = 5
"""After how long clients may try again while Redis is away."""

CALL_SECONDS = CONNECT_SECONDS + ANSWER_SECONDS
"""For a call with all of its commands and those by which a connection begins, each of which has ANSWER_SECONDS."""

OTHER_VERSION = "is of another version of the service, and is left to the replicas of that"

STATES = {
    b"waiting": JobState.QUEUED,
    b"running": JobState.RUNNING,
    b"ended": JobState.SUCCEEDED,
    b"failed": JobState.FAILED,
}
"""What the script that deletes a job says of it."""

NO_MEMORY = "Redis has no memory left"

CLUSTER = "Redis is a cluster, which is not spoken here; name a lone Redis, or Sentinels"

REASONS: Sequence[tuple[type[Exception], str]] = (
    (exceptions.AuthenticationError, "Redis refuses the password"),
    (exceptions.NoPermissionError, "Redis does not permit the commands that jobs need"),
    (exceptions.BusyLoadingError, "Redis is loading its data"),
    (exceptions.ReadOnlyError, "Redis is a replica that cannot be written"),
    (exceptions.MovedError, CLUSTER),
    (exceptions.ClusterError, CLUSTER),
    (exceptions.OutOfMemoryError, NO_MEMORY),
    (exceptions.TimeoutError, "Redis does not answer in time"),
    (TimeoutError, "Redis does not answer in time"),
    (exceptions.ConnectionError, "Redis cannot be reached"),
    (OSError, "Redis cannot be reached"),
)
"""What clients are told of a failure of Redis: nothing of its address."""

logger = logging.getLogger(__name__)


class UnreadableJobs:
    """Jobs of another version, which this replica leaves to others: by their ids and places in the queue."""

    def __init__(self, most: int) -> None:
        """`most` are remembered; a job that is forgotten is claimed once more, and left again."""
        self._orders: dict[str, str] = {}
        self._most = most

    def add(self, job_id: bytes, order: bytes) -> None:
        """Remember a job."""
        logger.warning("job %s %s", job_id.decode(), OTHER_VERSION)
        self._orders[job_id.decode()] = order.decode()
        if len(self._orders) > self._most:
            del self._orders[next(iter(self._orders))]

    def keep(self, job_ids: Collection[bytes]) -> None:
        """Forget all but these."""
        kept = {job_id.decode() for job_id in job_ids}
        self._orders = {job_id: order for job_id, order in self._orders.items() if job_id in kept}

    def __bool__(self) -> bool:
        return bool(self._orders)

    def arguments(self) -> dict[str, Any]:
        """Those of scripts that claim."""
        return {"unreadable": self._orders, "most_unreadable": len(self._orders)}


class RedisJobStore:
    """The jobs of all replicas that have the same `jobs_url`."""

    poll_seconds: float | None = 0.5
    sweep_seconds = 5.0

    def __init__(self, settings: Settings, metrics: Metrics, clock: str = scripts.SERVER_CLOCK) -> None:
        """`clock`: the time in seconds, as an expression in Lua. Raises StoreError where results have no store."""
        self.renew_seconds: float | None = settings.job_lease_seconds / 10
        self._settings = settings
        self._metrics = metrics
        self._connections = redis_connections(settings.jobs_url.get_secret_value())
        self._redis = self._connections.redis
        self._prelude = scripts.PRELUDE.replace("CLOCK", clock)
        self._objects = ResultObjects(settings.job_results_url) if settings.job_results_url else None
        self._turns = asyncio.Semaphore(self._connections.most)
        self._trouble: str | None = None
        self._is_full = False
        self._unreadable = UnreadableJobs(MAX_KEPT)
        self._counts = JobCounts(dict.fromkeys(JobState, 0))

    @property
    def trouble(self) -> str | None:
        """Why Redis did not change what it was last asked to, or would create no job; None where it did, and would."""
        return self._trouble

    @property
    def counts(self) -> JobCounts:
        """How much was kept at the last sweep."""
        return self._counts

    async def open(self) -> None:
        """See JobStore. Redis may come later."""

    async def close(self) -> None:
        """Close the connections."""
        await self._connections.close()

    async def create(self, record: JobRecord, files: InputFiles, most_of_owner: int | None = None) -> tuple[Job, bool]:
        """See JobStore."""
        settings = self._settings
        arguments = {"id": record.id, "owner": record.owner, "most_jobs": settings.max_jobs, **self._limits()}
        if most_of_owner is not None:
            arguments["most_of_owner"] = most_of_owner
        if record.callback is not None:
            arguments["host"] = record.callback.host
        contents = [_json(record), files.image, *([files.mask] if files.mask is not None else [])]
        answer, number, dropped = await self._run(scripts.CREATE, arguments, *contents)
        self._count_dropped(dropped)
        match answer:
            case b"owner":
                raise too_many_of_owner(number, most_of_owner or 0)
            case b"jobs":
                raise too_many_jobs(number, settings.max_jobs)
            case b"bytes":
                raise too_many_bytes(sum(len(file) for file in contents[1:]), settings.job_bytes)
            case b"known":
                return await self.find(record.id) or Job(record), False
        return Job(record), True

    async def find(self, job_id: str) -> Job | None:
        """See JobStore."""
        async with self._available():
            return _job(*await self._fields(job_id, "record", "outcome", "progress"))

    async def result(self, job_id: str) -> bytes:
        """See JobStore."""
        async with self._available():
            inline, name, outcome = await self._fields(job_id, "result", "object", "outcome")
        if name is not None and outcome is not None:
            return await self._read(name.decode(), JobOutcome.model_validate_json(outcome))
        if inline is None:
            raise FileNotFoundError(job_id)
        return inline

    async def remove(self, job_id: str) -> JobState | None:
        """See JobStore. It may be of another version."""
        arguments = {"id": job_id, "token": uuid.uuid4().hex, "told_seconds": math.ceil(2 * CALL_SECONDS)}
        state, dropped = await self._run(scripts.REMOVE, arguments)
        self._count_dropped(dropped)
        return STATES[state] if state is not None else None

    async def claim_run(self) -> RunClaim | None:
        """See JobStore."""
        token = uuid.uuid4().hex
        progress = JobProgress(started=datetime.now(UTC)).model_dump_json()
        arguments = {"token": token, "progress": progress, "lease_seconds": self._settings.job_lease_seconds}
        while (found := await self._run(scripts.CLAIM_RUN, arguments | self._unreadable.arguments())) is not None:
            job_id, order, record, attempts, taken_over = found
            try:
                return RunClaim(JobRecord.model_validate_json(record), token, attempts, bool(taken_over))
            except ValidationError:
                self._unreadable.add(job_id, order)
                await self._run(scripts.RELEASE, {"id": job_id.decode(), "token": token})
        return None

    async def files(self, claim: RunClaim) -> InputFiles:
        """See JobStore."""
        found = await self._run(scripts.FILES, _of(claim))
        if found is None or found[0] is None:
            raise ClaimLost
        return InputFiles(*found)

    async def renew(self, claim: RunClaim, progress: JobProgress) -> None:
        """See JobStore."""
        told = {"progress": progress.model_dump_json(), "lease_seconds": self._settings.job_lease_seconds}
        if not await self._run(scripts.RENEW, _of(claim) | told):
            raise ClaimLost

    async def release(self, claim: RunClaim) -> None:
        """See JobStore."""
        await self._run(scripts.RELEASE, _of(claim))

    async def finish(self, claim: RunClaim, outcome: JobOutcome, content: bytes = b"") -> JobOutcome:
        """See JobStore."""
        arguments = _of(claim) | self._limits() | {"object_bytes": 0, "callback": claim.record.callback is not None}
        if outcome.result is None:
            arguments["failed"] = True
        elif self._objects is not None and len(content) > self._settings.job_inline_bytes:
            await self._write(claim, content, self._objects)
            arguments |= {"object": claim.token, "object_bytes": len(content)}
        inline = b"" if "object" in arguments else content
        answer, dropped = await self._run(scripts.FINISH, arguments, _json(outcome), inline)
        self._count_dropped(dropped)
        if answer == b"lost":
            raise ClaimLost
        if answer == b"large" and outcome.result is not None:
            failed = JobOutcome.failed(no_room_for_result(len(content), self._settings.job_bytes))
            return await self.finish(claim, failed.model_copy(update={"started": outcome.started}))
        return outcome

    async def claim_delivery(self, full: FullPlaces = NOBODY) -> DeliveryClaim | None:
        """See JobStore. The claim lasts longer than an attempt may."""
        token = uuid.uuid4().hex
        lease = self._settings.webhook_timeout + self._settings.job_lease_seconds
        arguments = {"token": token, "lease_seconds": lease}
        arguments |= {"full_hosts": dict.fromkeys(full.hosts, 1), "full_owners": dict.fromkeys(full.owners, 1)}
        while True:
            found = await self._run(scripts.CLAIM_DELIVERY, arguments | self._unreadable.arguments())
            dropped, *claimed = found
            self._count_dropped(dropped)
            if not claimed:
                return None
            job_id, order, record, outcome, delivery = claimed
            with suppress(JobsUnavailable):
                if (job := _job(record, outcome, None)) is not None:
                    return DeliveryClaim(job, Delivery.model_validate_json(delivery) if delivery else Delivery(), token)
            self._unreadable.add(job_id, order)
            await self._run(scripts.LEAVE_DELIVERY, {"id": job_id.decode(), "token": token})

    def seconds_to_delivery(self, full: FullPlaces = NOBODY) -> float | None:  # noqa: ARG002 # by its name in JobStore
        """See JobStore. Any replica may have ended a job."""
        return self.poll_seconds

    async def write_delivery(self, claim: DeliveryClaim, delivery: Delivery) -> None:
        """See JobStore."""
        arguments: dict[str, Any] = {"id": claim.job.record.id, "token": claim.token}
        arguments["delivery"] = delivery.model_dump_json()
        if delivery.state is DeliveryState.PENDING:
            arguments["wait"] = max(0.0, (delivery.next_at - datetime.now(UTC)).total_seconds())
        if not await self._run(scripts.WRITE_DELIVERY, arguments):
            raise ClaimLost

    async def sweep(self) -> None:
        """See JobStore. Objects that cannot be deleted are tried again with the next sweep."""
        *counts, size, dropped, objects, has_room = await self._run(scripts.SWEEP, self._limits())
        self._is_full = not has_room
        self._tell(None)
        self._counts = JobCounts(dict(zip(JobState, counts, strict=True)), size)
        self._count_dropped(dropped)
        if self._unreadable:
            self._unreadable.keep(await self._run(scripts.ANOTHERS, self._unreadable.arguments()))
        if self._objects is not None:
            for name in objects:
                await self._delete(name.decode(), self._objects)

    async def _write(self, claim: RunClaim, content: bytes, objects: ResultObjects) -> None:
        """Write an object of the claim's name, which is deleted in an hour unless its job ends with it."""
        arguments = {"object": claim.token, "unclaimed_seconds": scripts.UNCLAIMED_SECONDS}
        await self._run(scripts.RESERVE, arguments)
        try:
            await asyncio.to_thread(objects.write, claim.token, content)
        except Exception as error:
            logger.warning("job %s: its result cannot be written to job_results_url: %r", claim.record.id, error)
            raise jobs_unavailable("results cannot be written to their store", RETRY_SECONDS) from error

    async def _read(self, name: str, outcome: JobOutcome) -> bytes:
        if self._objects is None:
            raise jobs_unavailable("this replica has no job_results_url, where the result is", RETRY_SECONDS)
        try:
            return await asyncio.to_thread(self._objects.read, name, outcome.result.bytes if outcome.result else 0)
        except FileNotFoundError:
            raise
        except Exception as error:
            logger.exception("a result cannot be read from job_results_url")
            raise jobs_unavailable("results cannot be read from their store", RETRY_SECONDS) from error

    async def _delete(self, name: str, objects: ResultObjects) -> None:
        try:
            await asyncio.to_thread(objects.remove, name)
        except Exception:
            logger.exception("a result cannot be deleted from job_results_url")
        else:
            await self._run(scripts.FORGET_OBJECT, {"object": name})

    async def _fields(self, job_id: str, *names: str) -> list[bytes | None]:
        """What a job has under these names; None for what it has not."""
        return cast(list[bytes | None], await self._redis.hmget(f"{PREFIX}job:{job_id}", names))

    async def _run(self, script: str, arguments: dict[str, Any], *contents: bytes) -> Any:
        """What a script returns. Raises JobsUnavailable."""
        registered = self._redis.register_script(self._prelude + script)
        async with self._available():
            answer = await registered(keys=[PREFIX], args=[json.dumps(arguments), *contents])
        self._tell(None)
        return answer

    @asynccontextmanager
    async def _available(self) -> AsyncIterator[None]:
        """Wait for a connection. Raise JobsUnavailable where there is none in time, or Redis fails in the block."""
        try:
            async with asyncio.timeout(CALL_SECONDS), self._turns:
                yield
        except (exceptions.RedisError, OSError) as error:
            self._tell(error)
            reason = _reason(error)
            raise jobs_unavailable(f"the store of the jobs is not available: {reason}", RETRY_SECONDS) from error

    def _tell(self, error: Exception | None) -> None:
        """Log whether jobs can be changed, where that is new: not, because of the error, or while Redis is full."""
        reason = _reason(error) if error is not None else None
        self._is_full = self._is_full or reason == NO_MEMORY
        before, self._trouble = self._trouble, reason or (NO_MEMORY if self._is_full else None)
        if self._trouble is not None and self._trouble != before:
            logger.warning("no jobs: %s", self._trouble if error is None else f"{self._trouble}: {error}")
        elif self._trouble is None and before is not None:
            logger.warning("jobs are available again")

    def _limits(self) -> dict[str, Any]:
        settings = self._settings
        return {
            "most_bytes": settings.job_bytes,
            "most_unfinished_bytes": most_unfinished_bytes(settings.job_bytes),
            "most_kept": MAX_KEPT,
            "kept_seconds": settings.job_seconds,
        }

    def _count_dropped(self, webhooks: int) -> None:
        self._metrics.webhooks.labels("dropped").inc(webhooks)


def _reason(error: BaseException) -> str:
    """What clients are told of a failure; redis-py wraps some in a ConnectionError."""
    chain = [error]
    while chain[-1].__cause__ is not None:
        chain.append(chain[-1].__cause__)
    known = (reason for kind, reason in REASONS if any(isinstance(each, kind) for each in chain))
    return next(known, "Redis refuses a command")


def _of(claim: RunClaim) -> dict[str, Any]:
    return {"id": claim.record.id, "token": claim.token}


def _json(model: JobRecord | JobOutcome) -> bytes:
    return model.model_dump_json().encode()


def _job(record: bytes | None, outcome: bytes | None, progress: bytes | None) -> Job | None:
    """Raises JobsUnavailable for a job of another version of the service."""
    if record is None:
        return None
    try:
        return Job(
            JobRecord.model_validate_json(record),
            JobOutcome.model_validate_json(outcome) if outcome else None,
            JobProgress.model_validate_json(progress) if progress else JobProgress(),
        )
    except ValidationError as error:
        raise JobsUnavailable(f"the job {OTHER_VERSION}", retry_after=RETRY_SECONDS) from error
