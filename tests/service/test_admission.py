import asyncio
import math
from collections.abc import Awaitable, Callable
from contextlib import ExitStack, suppress
from time import monotonic
from typing import Any

import pytest

from service.admission import RESERVE, Admission, Patience, QueueLimits, Work
from service.errors import ClientGone, DeadlineExceeded, Draining, Overloaded
from service.jobs import Job, Priority
from service.metrics import Metrics
from service.question import Question
from tests.service.pointwise import Model, model

LATER = 1e9
HERE = Question(("/here", "", ""), 15, silent=False, size=10)
SECOND_PER_TILE: dict[str, Any] = {"tile": 100, "fixed": 1.0}
Taking = Callable[..., Job[Model]]


class Desk:
    """An admission, and requests that stay for as long as the test."""

    def __init__(self, lanes: int, requests: int, pixels: int) -> None:
        self.metrics = Metrics()
        self.admission: Admission[Model] = Admission(QueueLimits(requests, pixels), lanes, self.metrics)
        self.requests = ExitStack()

    def take(
        self, subject: Model, height: int = 10, width: int = 10, seconds: float = LATER, **options: Any
    ) -> Job[Model]:
        """Admit an image whose answer is wanted within so many seconds."""
        work = [Work(subject, height, width)]
        return self.requests.enter_context(self.admission.admit(work, monotonic() + seconds, **options))[0]

    def refuse(self, *arguments: Any, **options: Any) -> Overloaded:
        with pytest.raises(Overloaded) as refusal:
            self.take(*arguments, **options)
        assert refusal.value.headers == {"Retry-After": str(refusal.value.members["retry_after"])}
        return refusal.value

    def value(self, name: str) -> float | None:
        return self.metrics.registry.get_sample_value(f"pastiche_{name}")

    def clients_leave_after(self, seconds: float, count: int, error: Exception, *, silent: bool = True) -> None:
        """So many requests come, and their clients leave, all of them at that age."""
        for _ in range(count):
            admitted = self.admission.admit([Work(model(), 1, 1)], LATER, silent=silent)
            with suppress(type(error)), admitted as (job,):
                job.admitted -= seconds
                raise error


def at_desk(
    scenario: Callable[[Desk], Awaitable[None]], lanes: int = 1, requests: int = 100, pixels: int = 10**9
) -> None:
    async def run() -> None:
        desk = Desk(lanes, requests, pixels)
        with desk.requests:
            async with asyncio.timeout(30):
                await scenario(desk)

    asyncio.run(run())


def test_too_many_requests_are_refused_until_one_is_answered() -> None:
    async def scenario(desk: Desk) -> None:
        desk.take(model())
        with desk.admission.admit([Work(model(), 1, 1)], LATER):
            assert "3 requests would be admitted, 2 are accepted" in desk.refuse(model()).detail
        desk.take(model())

    at_desk(scenario, requests=2)


def test_too_many_output_pixels_are_refused() -> None:
    async def scenario(desk: Desk) -> None:
        desk.take(model(scale=2), 3, 5)
        assert "101 output pixels would be admitted, 100 are accepted" in desk.refuse(model(), 1, 41).detail
        desk.take(model(), 1, 40)
        assert desk.admission.pixels() == desk.value("admitted_pixels") == 100
        assert desk.value("admitted_requests") == 2

    at_desk(scenario, pixels=100)


def test_retry_after_is_the_share_of_the_backlog_that_must_go() -> None:
    async def scenario(desk: Desk) -> None:
        for _ in range(4):
            desk.take(model(fixed=40.0))
        assert desk.value("backlog_seconds") == pytest.approx(80)
        assert desk.refuse(model()).members == {"retry_after": 16}  # one of five
        desk.admission._limits = QueueLimits(100, 400)
        assert desk.refuse(model(), 20, 20).members == {"retry_after": 40}  # one half

    at_desk(scenario, lanes=2, requests=4)


def test_retry_after_is_at_least_a_second() -> None:
    async def scenario(desk: Desk) -> None:
        desk.take(model())
        assert desk.refuse(model()).members == {"retry_after": 1}

    at_desk(scenario, requests=1)


def would_take(seconds: float) -> str:
    return f"the answer would take {seconds * RESERVE:.1f} s"


def test_what_cannot_be_done_in_time_is_refused_at_once() -> None:
    async def scenario(desk: Desk) -> None:
        subject = model(fixed=10.0)
        desk.take(subject)
        refusal = desk.refuse(subject, seconds=15)
        wait = math.ceil(20 * RESERVE - 15 + 1e-3)
        assert refusal.detail == f"{would_take(20)}, and there are 15.0 s for it; retry in {wait} s"
        assert refusal.members == {"retry_after": wait}
        desk.take(subject, seconds=20 * RESERVE + 1)

    at_desk(scenario)


def test_lanes_share_the_work() -> None:
    async def scenario(desk: Desk) -> None:
        subject = model(tile=100, fixed=10.0)
        desk.take(subject)
        desk.take(subject)
        assert would_take(20) in desk.refuse(subject, seconds=20 * RESERVE - 1).detail
        assert would_take(40) in desk.refuse(subject, 20, 30, seconds=40 * RESERVE - 1).detail
        desk.take(subject, seconds=20 * RESERVE + 1)

    at_desk(scenario, lanes=2)


def test_what_finds_the_service_empty_is_let_in() -> None:
    async def scenario(desk: Desk) -> None:
        desk.take(model(fixed=1000.0), seconds=1)
        desk.refuse(model(fixed=1000.0), seconds=1)

    at_desk(scenario)


def test_forecast_parts_what_is_ahead_from_the_work_itself() -> None:
    async def scenario(desk: Desk) -> None:
        desk.take(model(fixed=3.0))
        subject = model(fixed=10.0)
        work = [Work(subject, 10, 10), Work(subject, 10, 10, answer_pixels=5000)]
        jobs = desk.admission.jobs_of(work, LATER, Priority.INTERACTIVE)
        assert list(desk.admission.forecast(*jobs)) == pytest.approx([1.5, 10], abs=0.01)
        assert [job.output_pixels for job in jobs] == [100, 5000]
        assert desk.admission.pixels() == 100

    at_desk(scenario, lanes=2)


def test_lone_pass_is_predicted_on_all_lanes() -> None:
    async def scenario(desk: Desk) -> None:
        subject = model(fixed=10.0)
        subject.cost._correction[True] = 0.5
        first = desk.take(subject)
        assert desk.admission.finish(first) - monotonic() == pytest.approx(5, abs=0.1)
        (second,) = desk.admission.check([Work(subject, 10, 10)], LATER, Priority.INTERACTIVE)
        assert desk.admission.finish(second) - monotonic() == pytest.approx(5 + 10, abs=0.1)

    at_desk(scenario, lanes=2)


def test_small_work_does_not_wait_for_large() -> None:
    async def scenario(desk: Desk) -> None:
        poster = model(**SECOND_PER_TILE)
        desk.take(poster, 100, 100, seconds=1000)
        assert desk.value("backlog_seconds") == pytest.approx(100)
        desk.take(model(fixed=0.01), seconds=0.5)
        assert would_take(200.01) in desk.refuse(poster, 100, 100, seconds=200).detail

    at_desk(scenario)


def test_interactive_work_does_not_wait_for_bulk() -> None:
    async def scenario(desk: Desk) -> None:
        subject = model(fixed=5.0)
        desk.take(subject, priority=Priority.BULK)
        for priority, seconds in ((Priority.BULK, 10), (Priority.INTERACTIVE, 5)):
            (job,) = desk.admission.check([Work(subject, 10, 10)], LATER, priority)
            assert desk.admission.finish(job) - monotonic() == pytest.approx(seconds, abs=0.1)

    at_desk(scenario)


def test_age_bound_lets_old_bulk_work_go_first() -> None:
    async def scenario(desk: Desk) -> None:
        subject = model(fixed=5.0)
        desk.take(subject, priority=Priority.BULK).admitted -= 100
        assert would_take(10) in desk.refuse(subject, seconds=10).detail

    at_desk(scenario)


@pytest.mark.parametrize("error", [ClientGone("gone"), DeadlineExceeded("late"), ValueError("broken")])
def test_device_time_of_what_nobody_receives_is_wasted(error: Exception) -> None:
    async def scenario(desk: Desk) -> None:
        with desk.admission.admit([Work(model(), 1, 1)], LATER) as (answered,):
            answered.device_seconds = 3.0
        seen: list[Job[Model]] = []
        with suppress(type(error)), desk.admission.admit([Work(model(**SECOND_PER_TILE), 100, 100)], LATER) as (job,):
            seen.append(job)
            job.device_seconds = 2.0
            raise error
        assert desk.value("device_wasted_seconds_total") == 2.0
        assert seen[0].abandoned
        assert not seen[0].tiles
        assert seen[0].result.cancelled()
        assert desk.value("admitted_requests") == 0

    at_desk(scenario)


def test_service_does_not_work_for_clients_that_will_have_left() -> None:
    async def scenario(desk: Desk) -> None:
        desk.clients_leave_after(5.0, 20, ClientGone("gone"))
        subject = model(fixed=3.0)
        desk.take(subject)
        assert f"{would_take(6)}, and there are 5.0 s for it" in desk.refuse(subject, silent=True).detail
        desk.take(model(fixed=1.0), silent=True)

    at_desk(scenario)


def test_client_that_says_how_long_it_waits_is_believed() -> None:
    async def scenario(desk: Desk) -> None:
        desk.clients_leave_after(5.0, 20, ClientGone("gone"))
        subject = model(fixed=3.0)
        desk.take(subject)
        desk.refuse(subject, silent=True)
        desk.take(subject, seconds=60)

    at_desk(scenario)


def test_clients_that_say_how_long_they_wait_tell_nothing_of_the_others() -> None:
    async def scenario(desk: Desk) -> None:
        desk.clients_leave_after(5.0, 20, ClientGone("gone"), silent=False)
        assert desk.admission._patience.seconds() == float("inf")

    at_desk(scenario)


def test_newcomer_that_would_have_another_given_up_is_refused() -> None:
    """The poster takes 20 s and is given up when fewer than 25 are left; thumbnails, due before it, take 0.4 s each."""

    async def scenario(desk: Desk) -> None:
        poster, thumbnail = model(**SECOND_PER_TILE), model(fixed=0.4)
        promised = desk.take(poster, 50, 40, seconds=20 * RESERVE + 1)
        for _ in range(2):
            desk.take(thumbnail, seconds=1000)
        refusal = desk.refuse(thumbnail, seconds=1000)
        assert "would make an answer late that another client waits for" in refusal.detail
        assert refusal.members == {"retry_after": math.ceil(2 * 0.4 + 20 * RESERVE)}
        desk.take(model(fixed=0.1), seconds=1000)
        assert desk.admission.finish(promised) < promised.deadline

    at_desk(scenario)


def test_newcomer_that_is_less_urgent_harms_nobody() -> None:
    async def scenario(desk: Desk) -> None:
        desk.take(model(fixed=2.0), seconds=2.1 * RESERVE)
        desk.take(model(fixed=2.0), seconds=1000)
        desk.take(model(**SECOND_PER_TILE), 50, 40, seconds=1000)

    at_desk(scenario)


def test_what_will_be_given_up_anyway_refuses_nobody() -> None:
    async def scenario(desk: Desk) -> None:
        doomed = desk.take(model(**SECOND_PER_TILE), 50, 40, seconds=60)
        doomed.deadline = monotonic() + 20 * RESERVE + 0.05
        desk.refuse(model(fixed=0.1), seconds=1000)
        doomed.deadline -= 1
        desk.take(model(fixed=0.1), seconds=1000)

    at_desk(scenario)


def test_lanes_share_what_a_newcomer_adds() -> None:
    async def scenario(desk: Desk) -> None:
        desk.take(model(**SECOND_PER_TILE), 50, 40, seconds=10 * RESERVE + 0.15)
        desk.take(model(fixed=0.2), seconds=1000)
        desk.refuse(model(fixed=0.2), seconds=1000)

    at_desk(scenario, lanes=2)


@pytest.mark.parametrize("error", [DeadlineExceeded("late"), ValueError("broken")])
def test_failures_say_nothing_of_patience(error: Exception) -> None:
    async def scenario(desk: Desk) -> None:
        desk.clients_leave_after(5.0, 20, error)
        assert desk.admission._patience.seconds() == float("inf")

    at_desk(scenario)


def test_nobody_was_seen_to_leave() -> None:
    patience = Patience()
    assert patience.seconds() == float("inf")
    for _ in range(50):
        patience.saw(9.0, left=False)
    assert patience.seconds() == float("inf")


def test_patience_is_the_age_that_few_reach() -> None:
    """By hand, after Kaplan and Meier: of ten, those answered leave the sample, and each departure is a factor."""
    patience = Patience()
    for age in range(1, 21):
        patience.saw(float(age), left=True)
    assert patience.seconds() == 17.0  # 3 of 20 are left, the first time that fewer than a fifth are

    mixed = Patience()
    for age in range(1, 21):
        mixed.saw(float(age), left=age % 2 == 0)
    present, expected = 1.0, float("inf")
    for age in range(2, 19, 2):
        present *= 1 - 1 / (21 - age)
        if present < 0.2:
            expected = min(expected, float(age))
    assert mixed.seconds() == expected


def test_a_few_impatient_clients_decide_nothing() -> None:
    patience = Patience()
    for _ in range(5):
        patience.saw(0.1, left=True)
    for _ in range(20):
        patience.saw(2.0, left=False)
    assert patience.seconds() == float("inf")
    few = Patience()
    for _ in range(8):
        few.saw(0.1, left=True)
    assert few.seconds() == float("inf")


def test_patience_of_long_ago_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    patience = Patience()
    for _ in range(20):
        patience.saw(5.0, left=True)
    assert patience.seconds() == 5.0
    monkeypatch.setattr("service.admission.LATELY", 0.0)
    assert patience.seconds() == float("inf")


def test_refusals_stand_until_there_may_be_room() -> None:
    async def scenario(desk: Desk) -> None:
        refusals = desk.admission.refusals
        desk.take(model())
        refusals.remember(Overloaded("full"), HERE)
        assert refusals.of(HERE)
        with desk.admission.admit([Work(model(), 1, 1)], LATER):
            assert refusals.of(HERE) is None  # there may be more where that came from
            assert refusals.of(HERE)  # until it is known what became of the one that was let in
        assert refusals.of(HERE) is None
        assert refusals.of(HERE)

    at_desk(scenario)


def test_nothing_is_refused_once_everything_is_answered() -> None:
    async def scenario(desk: Desk) -> None:
        with desk.admission.admit([Work(model(), 1, 1)], LATER):
            desk.admission.refusals.remember(Overloaded("full"), HERE)
        for _ in range(3):
            assert desk.admission.refusals.of(HERE) is None

    at_desk(scenario)


def test_drain_admits_nothing_and_waits_for_what_was_admitted() -> None:
    async def scenario(desk: Desk) -> None:
        with desk.admission.admit([Work(model(), 1, 1)], LATER):
            draining = asyncio.create_task(desk.admission.drain(LATER))
            await asyncio.sleep(0)
            assert desk.admission.draining
            with pytest.raises(Draining):
                desk.take(model())
            await asyncio.sleep(0.01)
            assert not draining.done()
        await draining

    at_desk(scenario)


def test_drain_answers_what_does_not_finish_in_time() -> None:
    async def scenario(desk: Desk) -> None:
        job = desk.take(model(**SECOND_PER_TILE), 100, 100)
        await desk.admission.drain(0)
        with pytest.raises(Draining):
            await job.result
        assert not job.tiles

    at_desk(scenario)


def test_drained_job_that_nobody_waits_for_is_silent() -> None:
    """Asyncio reports exceptions that were never retrieved, and a report is a failure here (warnings are errors)."""

    async def scenario(desk: Desk) -> None:
        reports: list[dict[str, Any]] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: reports.append(context))
        with desk.admission.admit([Work(model(), 1, 1)], LATER):
            await desk.admission.drain(0)
        await asyncio.sleep(0)
        assert reports == []

    at_desk(scenario)


def test_images_of_one_request_are_admitted_together_or_not_at_all() -> None:
    async def scenario(desk: Desk) -> None:
        subject = model(fixed=1.0)
        with desk.admission.admit([Work(subject, 10, 10)] * 4, LATER) as jobs:
            assert len(set(jobs)) == 4
            assert desk.value("admitted_requests") == 1
            assert desk.value("admitted_pixels") == 400
            assert desk.value("backlog_seconds") == pytest.approx(4)
            with pytest.raises(Overloaded, match="800 output pixels would be admitted, 700 are accepted"):
                desk.requests.enter_context(desk.admission.admit([Work(subject, 10, 10)] * 4, LATER))
            assert len(desk.admission.jobs) == 4
        assert desk.value("admitted_requests") == 0
        assert not desk.admission.jobs

    at_desk(scenario, requests=2, pixels=700)


def test_time_of_all_images_of_a_request_counts() -> None:
    async def scenario(desk: Desk) -> None:
        subject = model(fixed=10.0)
        desk.take(subject)
        with pytest.raises(Overloaded) as refusal:
            desk.admission.check([Work(subject, 10, 10)] * 3, monotonic() + 20, Priority.INTERACTIVE)
        assert would_take(20) in refusal.value.detail  # half of 10 before them, and half of 30
        assert len(desk.admission.check([Work(subject, 10, 10)] * 3, monotonic() + 40, Priority.INTERACTIVE)) == 3

    at_desk(scenario, lanes=2)


def test_client_that_leaves_abandons_all_its_images() -> None:
    async def scenario(desk: Desk) -> None:
        seen: list[Job[Model]] = []
        with suppress(ClientGone), desk.admission.admit([Work(model(), 1, 1)] * 3, LATER) as jobs:
            seen += jobs
            for job in jobs:
                job.device_seconds = 2.0
            raise ClientGone("gone")
        assert all(job.abandoned and job.result.cancelled() for job in seen)
        assert desk.value("device_wasted_seconds_total") == 6.0

    at_desk(scenario)
