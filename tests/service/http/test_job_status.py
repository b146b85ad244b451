from datetime import timedelta

from service.errors import Overloaded
from service.http.job_status import JobStatus
from service.jobs.job import Job, JobState
from service.jobs.record import JobOutcome
from tests.service.jobs.test_record import RESULT, record


def status(outcome: JobOutcome | None) -> JobStatus:
    return JobStatus.of(Job(record("one"), outcome), kept_seconds=60.0)


def test_job_that_has_not_ended_has_no_end() -> None:
    told = status(None)
    assert (told.id, told.state, told.task) == ("one", JobState.QUEUED, "stylize")
    assert (told.finished, told.expires, told.result, told.problem) == (None, None, None, None)


def test_result_is_told_with_the_time_for_which_it_is_kept() -> None:
    outcome = JobOutcome(result=RESULT, tiles=9)
    told = status(outcome)
    assert (told.result, told.progress.tiles, told.progress.done) == (RESULT, 9, 9)
    assert told.expires == outcome.finished + timedelta(seconds=60)


def test_failure_is_told_as_the_problem_of_the_request() -> None:
    told = status(JobOutcome.failed(Overloaded("full", retry_after=7)))
    assert told.problem is not None
    assert (told.problem.type, told.problem.status, told.problem.instance) == ("/problems/overloaded", 503, "r")
