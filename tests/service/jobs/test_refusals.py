from service.errors import ServiceError
from service.jobs.refusals import (
    UNFINISHED_JOBS,
    jobs_unavailable,
    no_room_for_result,
    taken_by_unreadable,
    too_many_bytes,
    too_many_jobs,
    too_many_of_owner,
)


def test_each_says_what_would_have_been_accepted() -> None:
    refusals: list[tuple[ServiceError, str]] = [
        (too_many_of_owner(3, 2), "3 jobs of this client are unfinished; 2 are accepted"),
        (too_many_jobs(9, 8), "9 jobs are unfinished; at most 8 are accepted"),
        (too_many_bytes(70, 60), "no room for 70 bytes; 45 are kept of them"),
        (taken_by_unreadable("one"), "a job 'one' already, which this version cannot read; choose another id"),
        (no_room_for_result(70, 60), "the result has 70 bytes; at most 60 are kept"),
        (no_room_for_result(50, 60), "unfinished jobs left no room for the 50 bytes of the result; 60 are kept"),
        (jobs_unavailable("the disk is full", 7), "the disk is full; a request without `Prefer: respond-async`"),
    ]
    for refusal, said in refusals:
        assert said in refusal.detail


def test_those_that_pass_say_when_to_come_back() -> None:
    for refusal in (too_many_of_owner(3, 2), too_many_jobs(9, 8), too_many_bytes(7, 6), jobs_unavailable("away", 7)):
        assert refusal.retry_after
    assert too_many_of_owner(3, 2).members["violated-policies"] == [UNFINISHED_JOBS]
