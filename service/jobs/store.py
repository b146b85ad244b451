"""Where jobs are kept: the interface, which a folder (of one replica) and Redis (of several) have.

Who carries out a job, or delivers its webhook, has a claim on it. A store gives one claim at a time, and accepts the
end of a job from the holder of its claim alone, so that each job ends once. What replicas share is in the store; a
replica has in memory what it carries out at the moment, and nothing that another one would have to know.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol, TypeVar

from service.errors import JobsUnavailable
from service.jobs.delivery_places import FullPlaces
from service.jobs.job import Job, JobState
from service.jobs.record import Delivery, JobOutcome, JobProgress, JobRecord
from service.pipeline.requests import InputFiles

MAX_KEPT = 10_000
"""Jobs that are kept at most; each takes some kilobytes beside its files."""

SHARE_OF_RESULTS = 4
"""A fourth of the space is left to results: most are larger than what they were made of, and would not fit otherwise
where clients send jobs faster than these are done."""

RETRY_SECONDS = 1.0
"""After how long a store that could not be used is tried again."""

NOBODY = FullPlaces()
"""Nobody's webhooks wait for places."""

Answer = TypeVar("Answer")


class ClaimLost(Exception):
    """The job was deleted, or was given to another replica since this one was not heard of for too long."""


@dataclass(frozen=True)
class RunClaim:
    """The right to carry out a job."""

    record: JobRecord
    token: str = ""
    """Tells this claim from every other one on the same job."""
    attempts: int = 0
    """How often the job was begun before, without an end."""
    taken_over: bool = False
    """Whether another replica had begun it, which is not heard of any more."""


@dataclass(frozen=True)
class DeliveryClaim:
    """The right to deliver the webhook of a job that has ended."""

    job: Job
    delivery: Delivery
    token: str = ""


@dataclass(frozen=True)
class JobCounts:
    """How much is kept."""

    jobs: dict[JobState, int]
    bytes: int = 0


def most_unfinished_bytes(most: int) -> int:
    """How much unfinished jobs may have of the space for all jobs."""
    return most - most // SHARE_OF_RESULTS


class JobStore(Protocol):
    """The jobs of a service, or of all replicas that share them.

    All methods but `open` and `close` raise JobsUnavailable while the store cannot be used.
    """

    poll_seconds: float | None
    """How often to look for what other replicas have done; None where there are no others."""
    renew_seconds: float | None
    """How often claims on jobs must be renewed; None where they last."""
    sweep_seconds: float
    """How often `sweep` is to be called."""

    @property
    def trouble(self) -> str | None:
        """Why the store cannot be used, as far as is known now; None where it can."""

    @property
    def counts(self) -> JobCounts:
        """How much is kept, as of the latest `sweep` where others change it, too."""

    async def open(self) -> None:
        """Take up what earlier processes have left. A store that cannot be used is one later, or has `trouble`."""

    async def close(self) -> None:
        """Let go of the store. Claims should have been released."""

    async def create(self, record: JobRecord, files: InputFiles, most_of_owner: int | None = None) -> tuple[Job, bool]:
        """The job of that id, and whether it is new: then it is stored. Atomic between replicas.

        `most_of_owner`: the most unfinished jobs that its owner may have. Expired jobs, and then the oldest ended ones,
        make room. Raises QuotaExceeded, TooManyJobs, JobConflict where what is there under that id cannot be read.
        """

    async def find(self, job_id: str) -> Job | None:
        """The job of that id; None where there is none."""

    async def result(self, job_id: str) -> bytes:
        """The finished image of a job. Raises FileNotFoundError where it is gone."""

    async def remove(self, job_id: str) -> JobState | None:
        """Delete a job with its files and its webhook. How far it was; None where there is none."""

    async def claim_run(self) -> RunClaim | None:
        """Claim the job that has waited longest, or one whose replica is not heard of; None where there is none."""

    async def files(self, claim: RunClaim) -> InputFiles:
        """The files of the job's request. Raises ClaimLost."""

    async def renew(self, claim: RunClaim, progress: JobProgress) -> None:
        """Keep a claim for some more seconds, and store how far the job is. Raises ClaimLost."""

    async def release(self, claim: RunClaim) -> None:
        """Give a job back, to be begun anew at once: this attempt does not count. Nothing where the claim is lost."""

    async def finish(self, claim: RunClaim, outcome: JobOutcome, content: bytes = b"") -> JobOutcome:
        """Store how a job ended, with its finished image, and delete its input. Atomic, and once for each job.

        Returns what was stored: a failure where the result is too large to be kept, or cannot be written. To call it
        again with the same claim changes nothing.
        Raises ClaimLost.
        """

    async def claim_delivery(self, full: FullPlaces = NOBODY) -> DeliveryClaim | None:
        """Claim a webhook that is due, of nobody whose places are full; None where there is none."""

    def seconds_to_delivery(self, full: FullPlaces = NOBODY) -> float | None:
        """After how long `claim_delivery` may find one; None where it will not, until a job or a webhook ends."""

    async def write_delivery(self, claim: DeliveryClaim, delivery: Delivery) -> None:
        """Store how far a delivery is, and give the claim up. Raises ClaimLost."""

    async def sweep(self) -> None:
        """Delete what has expired, and count what is kept."""


async def when_available(call: Callable[[], Awaitable[Answer]], pause: float = RETRY_SECONDS) -> Answer:
    """What a call of the store returns, as soon as the store can be used."""
    while True:
        try:
            return await call()
        except JobsUnavailable:
            await asyncio.sleep(pause)
