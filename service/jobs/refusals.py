"""What clients are told where a store does not take a job or its result."""

from service.errors import JobConflict, JobsUnavailable, QuotaExceeded, ResultTooLarge, ServiceError, TooManyJobs
from service.jobs.store import most_unfinished_bytes

TOO_MANY_RETRY_SECONDS = 5

UNFINISHED_JOBS = "unfinished-jobs"
"""The name of an owner's limit in problems."""


def jobs_unavailable(reason: str, retry_after: float) -> JobsUnavailable:
    """The store cannot be used, for that reason, and may be after so many seconds."""
    detail = f"{reason}; a request without `Prefer: respond-async` needs no job"
    return JobsUnavailable(detail, retry_after=retry_after)


def taken_by_unreadable(job_id: str) -> JobConflict:
    """Another version of the service, or a fault of the disk, has left a job of that id that cannot be read."""
    return JobConflict(f"there is a job {job_id!r} already, which this version cannot read; choose another id")


def too_many_of_owner(unfinished: int, most: int) -> QuotaExceeded:
    """An owner has as many unfinished jobs as it may have."""
    return QuotaExceeded(
        f"{unfinished} jobs of this client are unfinished; {most} are accepted; retry in {TOO_MANY_RETRY_SECONDS} s",
        retry_after=TOO_MANY_RETRY_SECONDS,
        **{"violated-policies": [UNFINISHED_JOBS]},
    )


def too_many_jobs(unfinished: int, most: int) -> TooManyJobs:
    """All clients together have as many unfinished jobs as are accepted."""
    return _too_many(f"{unfinished} jobs are unfinished; at most {most} are accepted")


def too_many_bytes(size: int, most: int) -> TooManyJobs:
    """Unfinished jobs leave no room for `size` bytes, of the `most` of all jobs."""
    kept = most_unfinished_bytes(most)
    return _too_many(f"unfinished jobs leave no room for {size} bytes; {kept} are kept of them")


def no_room_for_result(size: int, most: int) -> ServiceError:
    """A result would not fit though all that have ended were deleted: alone, or beside unfinished jobs."""
    if size > most:
        return ResultTooLarge(f"the result has {size} bytes; at most {most} are kept of all jobs")
    detail = f"unfinished jobs left no room for the {size} bytes of the result; {most} are kept of all jobs"
    return TooManyJobs(f"{detail}; delete this job, and begin it again later")


def _too_many(detail: str) -> TooManyJobs:
    return TooManyJobs(f"{detail}; retry in {TOO_MANY_RETRY_SECONDS} s", retry_after=TOO_MANY_RETRY_SECONDS)
