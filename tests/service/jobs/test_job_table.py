from datetime import UTC, datetime, timedelta

import pytest

from service.errors import QuotaExceeded, TooManyJobs
from service.jobs.job import Job, JobState
from service.jobs.job_table import JobTable, KeptJob
from service.jobs.record import JobOutcome
from tests.service.jobs.test_record import RESULT, record

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def table(*names: str, most_jobs: int = 9, most_bytes: int = 100) -> JobTable:
    made = JobTable(most_jobs, most_bytes)
    for name in names:
        made.add(KeptJob(Job(record(name).model_copy(update={"owner": "a"})), 10))
    return made


def test_no_more_jobs_are_accepted_than_the_limits_say() -> None:
    full = table("one", "two", most_jobs=2)
    with pytest.raises(TooManyJobs) as refused:
        full.require_place("b", None)
    assert refused.value.retry_after == 5
    with pytest.raises(QuotaExceeded, match="2 jobs of this client are unfinished; 1 are accepted"):
        full.require_place("a", 1)
    full.end("one", JobOutcome(result=RESULT), 5, NOW)
    full.require_place("b", None)


def test_jobs_are_taken_in_their_order_and_those_put_back_come_first() -> None:
    kept = table("one", "two")
    first, second = kept.take(), kept.take()
    assert first is not None
    assert second is not None
    assert (first.record.id, second.record.id, kept.take()) == ("one", "two", None)
    assert kept.counts.jobs[JobState.RUNNING] == 2
    kept.put_back("two")
    kept.put_back("one")
    again = kept.take()
    assert again is not None
    assert again.record.id == "one"


def test_what_has_expired_goes_first_and_then_the_oldest_while_there_is_no_room() -> None:
    kept = table("old", "new", "running")
    for name, hours in (("old", 5), ("new", 1)):
        kept.end(name, JobOutcome(finished=NOW - timedelta(hours=hours), result=RESULT), 10, NOW)
    assert kept.to_remove(0, NOW - timedelta(hours=6)) is None
    assert kept.to_remove(0, NOW - timedelta(hours=5)) == "old"
    assert kept.to_remove(71, NOW - timedelta(hours=6)) == "old"
    kept.remove("old")
    assert kept.to_remove(91, NOW - timedelta(hours=6)) == "new"
    kept.remove("new")
    assert kept.to_remove(91, NOW) is None
    assert not kept.has_room(91)
