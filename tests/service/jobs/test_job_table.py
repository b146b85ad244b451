from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.errors import CorruptImage, QuotaExceeded, TooManyJobs
from service.jobs.job import Job, JobState
from service.jobs.job_table import JobTable, KeptJob
from service.jobs.record import Callback, Delivery, DeliveryState, JobOutcome
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
    first, second = kept.take("1"), kept.take("2")
    assert first is not None
    assert second is not None
    assert (first.record.id, second.record.id, kept.take("3")) == ("one", "two", None)
    assert kept.counts.jobs[JobState.RUNNING] == 2
    kept.put_back("two")
    kept.put_back("one")
    again = kept.take("4")
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
    assert kept.to_remove(90, NOW - timedelta(hours=6)) == "new"
    assert kept.to_remove(91, NOW - timedelta(hours=6)) is None
    assert not kept.has_room(91)


def test_webhooks_are_claimed_in_the_order_in_which_they_are_due() -> None:
    kept = table()
    for name, seconds in (("late", 2), ("early", 1)):
        kept.add(called_back(name, Delivery(next_at=NOW + timedelta(seconds=seconds))))
    assert kept.next_delivery() == NOW + timedelta(seconds=1)
    assert kept.claim_delivery(NOW, "0") is None
    early, late = (kept.claim_delivery(NOW + timedelta(seconds=2), token) for token in "12")
    assert early is not None
    assert late is not None
    assert (early.job.record.id, late.job.record.id) == ("early", "late")
    assert kept.claim_delivery(NOW + timedelta(days=1), "3") is None
    kept.end_delivery("late", Delivery(attempts=1, next_at=NOW))
    kept.end_delivery("early", Delivery(state=DeliveryState.DELIVERED, attempts=1))
    assert kept.next_delivery() == NOW


def called_back(name: str, delivery: Delivery | None = None) -> KeptJob:
    """A job with a callback; one that has ended, where there is a delivery."""
    asked = record(name).model_copy(update={"owner": name[:1], "callback": Callback(url="https://client.example")})
    return KeptJob(Job(asked, JobOutcome(finished=NOW, result=RESULT) if delivery else None), 10, delivery)


class Changes:
    """What can be done with a table, as far as it makes sense at the moment."""

    def __init__(self) -> None:
        self.table = JobTable(9, MOST_BYTES)
        self.taken: list[str] = []

    def add(self, name: str, number: int) -> None:
        if self.table.find(name) is None:
            self.table.add(KeptJob(called_back(name).job, number))

    def take(self, _name: str, _number: int) -> None:
        job = self.table.take("token")
        if job is not None:
            self.taken.append(job.record.id)

    def put_back(self, _name: str, _number: int) -> None:
        if self.taken:
            self.table.put_back(self.taken.pop())

    def end(self, _name: str, number: int) -> None:
        if self.taken:
            outcome = JobOutcome.failed(CorruptImage("broken")) if number % 2 else JobOutcome(result=RESULT)
            finished = outcome.model_copy(update={"finished": NOW + timedelta(seconds=number)})
            self.table.end(self.taken.pop(), finished, number, NOW - timedelta(seconds=number))

    def resize(self, name: str, number: int) -> None:
        if self.table.find(name) is not None:
            self.table.resize(name, number)

    def claim_delivery(self, _name: str, number: int) -> None:
        self.table.claim_delivery(NOW - timedelta(seconds=number), "token")

    def end_delivery(self, name: str, number: int) -> None:
        kept = self.table.find(name)
        if kept is not None and kept.delivering:
            state = DeliveryState.DELIVERED if number % 2 else DeliveryState.PENDING
            self.table.end_delivery(name, Delivery(state=state, next_at=NOW + timedelta(seconds=number)))

    def remove(self, name: str, _number: int) -> None:
        if self.table.find(name) is not None:
            self.table.remove(name)
            self.taken = [each for each in self.taken if each != name]


MOST_BYTES = 100
NAMES = [f"{owner}{number}" for owner in "ab" for number in range(3)]
Change = Callable[[Changes, str, int], None]
CHANGES: list[Change] = [
    Changes.add,
    Changes.take,
    Changes.put_back,
    Changes.end,
    Changes.resize,
    Changes.claim_delivery,
    Changes.end_delivery,
    Changes.remove,
]


STEPS = st.tuples(st.sampled_from(CHANGES), st.sampled_from(NAMES), st.integers(0, 9))


@settings(deadline=None)
@given(st.lists(STEPS, min_size=20, max_size=60))
def test_what_is_kept_up_to_date_is_what_all_jobs_say(steps: list[tuple[Change, str, int]]) -> None:
    changes = Changes()
    for change, name, number in steps:
        change(changes, name, number)
        require_consistent(changes.table, len(changes.taken))


def require_consistent(made: JobTable, running: int) -> None:
    """Compare what a table says with what it would find if it looked at each job."""
    kept = [job for name in NAMES if (job := made.find(name)) is not None]
    states = [job.job.state for job in kept]
    expected = {state: states.count(state) for state in JobState}
    expected |= {JobState.RUNNING: running, JobState.QUEUED: states.count(JobState.QUEUED) - running}
    assert (made.counts.jobs, made.counts.bytes) == (expected, sum(job.bytes for job in kept))
    ended = [(job.job.outcome.finished, job.job.record.id) for job in kept if job.job.outcome]
    room = MOST_BYTES - sum(job.bytes for job in kept if job.job.outcome is None)
    oldest = min(ended)[1] if not made.has_room(room) else None
    assert [made.to_remove(room + more, NOW - timedelta(days=1)) for more in (0, 1)] == [oldest, None]
    due = [job.delivery.next_at for job in kept if job.delivery and job.has_pending_delivery and not job.delivering]
    assert made.next_delivery() == min(due, default=None)
    for owner in "ab":
        unfinished = sum(job.job.record.owner == owner and job.job.outcome is None for job in kept)
        made.require_place(owner, unfinished + 1)
        with pytest.raises(QuotaExceeded):
            made.require_place(owner, unfinished)
