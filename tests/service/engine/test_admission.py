import asyncio
import math
from collections.abc import Awaitable, Callable
from contextlib import ExitStack, suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.engine.admission import SAFETY_FACTOR, Admission, QueueLimits
from service.engine.deadline import Deadline
from service.engine.inference_request import InferenceRequest
from service.engine.inference_spec import InferenceSpec
from service.engine.priority import Priority
from service.errors import ClientGone, DeadlineExceeded, Draining, Overloaded
from service.telemetry.metrics import Metrics
from tests.service.pointwise import Model, model

LATER = 1e9
NOW = 1000.0
"""Time stands still: what is admitted, and when, does not depend on how busy the machine is."""
SECOND_PER_TILE: dict[str, Any] = {"tile": 100, "fixed": 1.0}
Taking = Callable[..., InferenceRequest[Model]]


class Listener:
    """Remembers what it is told."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    def capacity_changed(self) -> None:
        self.heard.append("changed")

    def refusals_invalid(self) -> None:
        self.heard.append("invalid")


class Frontend:
    """An admission, with requests that stay admitted for as long as the test."""

    def __init__(self, lanes: int, requests: int, pixels: int, inferences: int) -> None:
        self.metrics = Metrics()
        self.listener = Listener()
        limits = QueueLimits(requests, pixels, inferences)
        self.admission: Admission[Model] = Admission(
            limits, lanes, self.metrics, listener=self.listener, clock=lambda: NOW
        )
        self.requests = ExitStack()

    def take(
        self, subject: Model, height: int = 10, width: int = 10, seconds: float = LATER, **options: Any
    ) -> InferenceRequest[Model]:
        """Admit an image whose answer is wanted within `seconds`; `options` are those of a Deadline."""
        work = [InferenceSpec(subject, height, width)]
        return self.requests.enter_context(self.admission.admit(work, Deadline(NOW + seconds, **options)))[0]

    def refuse(self, *arguments: Any, **options: Any) -> Overloaded:
        with pytest.raises(Overloaded) as refusal:
            self.take(*arguments, **options)
        assert refusal.value.retry_after == refusal.value.members["retry_after"]
        return refusal.value

    def value(self, name: str) -> float | None:
        return self.metrics.registry.get_sample_value(f"pastiche_{name}")

    def clients_leave_after(self, seconds: float, count: int, error: Exception, *, is_default: bool = True) -> None:
        """So many requests come, and their clients leave, all of them at that age."""
        for _ in range(count):
            admitted = self.admission.admit([InferenceSpec(model(), 1, 1)], Deadline(LATER, is_default=is_default))
            with suppress(type(error)), admitted as (request,):
                request.times.admitted -= seconds
                raise error


def at_frontend(
    scenario: Callable[[Frontend], Awaitable[None]],
    lanes: int = 1,
    requests: int = 100,
    pixels: int = 10**9,
    inferences: int = 10**6,
) -> None:
    async def run() -> None:
        frontend = Frontend(lanes, requests, pixels, inferences)
        with frontend.requests:
            async with asyncio.timeout(30):
                await scenario(frontend)

    asyncio.run(run())


def test_too_many_requests_are_refused_until_one_is_answered() -> None:
    async def scenario(frontend: Frontend) -> None:
        frontend.take(model())
        with frontend.admission.admit([InferenceSpec(model(), 1, 1)], Deadline(LATER)):
            assert "3 requests would be admitted, 2 are accepted" in frontend.refuse(model()).detail
        frontend.take(model())

    at_frontend(scenario, requests=2)


def test_too_many_output_pixels_are_refused() -> None:
    async def scenario(frontend: Frontend) -> None:
        frontend.take(model(scale=2), 3, 5)
        assert "101 output pixels would be admitted, 100 are accepted" in frontend.refuse(model(), 1, 41).detail
        frontend.take(model(), 1, 40)
        assert frontend.admission.output_pixels() == frontend.value("admitted_pixels") == 100
        assert frontend.value("admitted_requests") == 2

    at_frontend(scenario, pixels=100)


def test_retry_after_is_the_share_of_the_backlog_that_must_go() -> None:
    async def scenario(frontend: Frontend) -> None:
        for _ in range(4):
            frontend.take(model(fixed=40.0))
        assert frontend.value("backlog_seconds") == pytest.approx(80)
        assert frontend.refuse(model()).members == {"retry_after": 16}  # one of five

    at_frontend(scenario, lanes=2, requests=4)


def test_retry_after_is_the_share_of_the_pixels_that_must_go() -> None:
    async def scenario(frontend: Frontend) -> None:
        for _ in range(4):
            frontend.take(model(fixed=40.0))
        assert frontend.refuse(model(), 20, 20).members == {"retry_after": 40}  # one half

    at_frontend(scenario, lanes=2, pixels=400)


def test_retry_after_is_at_least_a_second() -> None:
    async def scenario(frontend: Frontend) -> None:
        frontend.take(model())
        assert frontend.refuse(model()).members == {"retry_after": 1}

    at_frontend(scenario, requests=1)


def would_take(seconds: float) -> str:
    return f"the answer would take {seconds * SAFETY_FACTOR:.1f} s"


def test_what_cannot_be_done_in_time_is_refused_at_once() -> None:
    async def scenario(frontend: Frontend) -> None:
        subject = model(fixed=10.0)
        frontend.take(subject)
        refusal = frontend.refuse(subject, seconds=15)
        wait = math.ceil(20 * SAFETY_FACTOR - 15)
        assert refusal.detail == f"{would_take(20)}, and there are 15.0 s for it; retry in {wait} s"
        assert refusal.members == {"retry_after": wait}
        frontend.take(subject, seconds=20 * SAFETY_FACTOR + 1)

    at_frontend(scenario)


def test_lanes_share_the_work() -> None:
    async def scenario(frontend: Frontend) -> None:
        subject = model(tile=100, fixed=10.0)
        frontend.take(subject)
        frontend.take(subject)
        assert would_take(20) in frontend.refuse(subject, seconds=20 * SAFETY_FACTOR - 1).detail
        assert would_take(40) in frontend.refuse(subject, 20, 30, seconds=40 * SAFETY_FACTOR - 1).detail
        frontend.take(subject, seconds=20 * SAFETY_FACTOR + 1)

    at_frontend(scenario, lanes=2)


def test_what_finds_the_service_empty_is_let_in() -> None:
    async def scenario(frontend: Frontend) -> None:
        frontend.take(model(fixed=1000.0), seconds=1)
        frontend.refuse(model(fixed=1000.0), seconds=1)

    at_frontend(scenario)


def test_forecast_parts_what_is_ahead_from_the_work_itself() -> None:
    async def scenario(frontend: Frontend) -> None:
        frontend.take(model(fixed=3.0))
        subject = model(fixed=10.0)
        work = [InferenceSpec(subject, 10, 10), InferenceSpec(subject, 10, 10, answer_pixels=5000)]
        requests = frontend.admission.new_requests(work, Deadline(LATER))
        assert list(frontend.admission.forecast(*requests)) == pytest.approx([1.5, 10], abs=0.01)
        assert [request.spec.output_pixels for request in requests] == [100, 5000]
        assert frontend.admission.output_pixels() == 100

    at_frontend(scenario, lanes=2)


def test_lone_pass_is_predicted_on_all_lanes() -> None:
    async def scenario(frontend: Frontend) -> None:
        subject = model(fixed=10.0, speed_up=2.0)
        first = frontend.take(subject)
        assert frontend.admission.predicted_finish(first) - NOW == pytest.approx(5, abs=0.1)
        (second,) = frontend.admission.check([InferenceSpec(subject, 10, 10)], Deadline(LATER))
        assert frontend.admission.predicted_finish(second) - NOW == pytest.approx(5 + 10, abs=0.1)

    at_frontend(scenario, lanes=2)


def test_small_work_does_not_wait_for_large() -> None:
    async def scenario(frontend: Frontend) -> None:
        poster = model(**SECOND_PER_TILE)
        frontend.take(poster, 100, 100, seconds=1000)
        assert frontend.value("backlog_seconds") == pytest.approx(100)
        frontend.take(model(fixed=0.01), seconds=0.5)
        assert would_take(200.01) in frontend.refuse(poster, 100, 100, seconds=200).detail

    at_frontend(scenario)


def test_interactive_work_does_not_wait_for_bulk() -> None:
    async def scenario(frontend: Frontend) -> None:
        subject = model(fixed=5.0)
        frontend.take(subject, priority=Priority.BULK)
        for priority, seconds in ((Priority.BULK, 10), (Priority.INTERACTIVE, 5)):
            (request,) = frontend.admission.check([InferenceSpec(subject, 10, 10)], Deadline(LATER, priority))
            assert frontend.admission.predicted_finish(request) - NOW == pytest.approx(seconds, abs=0.1)

    at_frontend(scenario)


def test_age_bound_lets_old_bulk_work_go_first() -> None:
    async def scenario(frontend: Frontend) -> None:
        subject = model(fixed=5.0)
        frontend.take(subject, priority=Priority.BULK).times.admitted -= 100
        assert would_take(10) in frontend.refuse(subject, seconds=10).detail

    at_frontend(scenario)


@pytest.mark.parametrize("error", [ClientGone("gone"), DeadlineExceeded("late"), ValueError("broken")])
def test_device_time_of_what_nobody_receives_is_wasted(error: Exception) -> None:
    async def scenario(frontend: Frontend) -> None:
        with frontend.admission.admit([InferenceSpec(model(), 1, 1)], Deadline(LATER)) as (answered,):
            answered.device_seconds = 3.0
        seen: list[InferenceRequest[Model]] = []
        with (
            suppress(type(error)),
            frontend.admission.admit([InferenceSpec(model(**SECOND_PER_TILE), 100, 100)], Deadline(LATER)) as (
                request,
            ),
        ):
            seen.append(request)
            request.device_seconds = 2.0
            raise error
        assert frontend.value("device_wasted_seconds_total") == 2.0
        assert seen[0].abandoned
        assert not seen[0].waiting_tiles
        assert seen[0].result.cancelled()
        assert frontend.value("admitted_requests") == 0

    at_frontend(scenario)


def test_service_does_not_work_for_clients_that_will_have_left() -> None:
    async def scenario(frontend: Frontend) -> None:
        frontend.clients_leave_after(5.0, 20, ClientGone("gone"))
        subject = model(fixed=3.0)
        frontend.take(subject)
        assert f"{would_take(6)}, and there are 5.0 s for it" in frontend.refuse(subject, is_default=True).detail
        frontend.take(model(fixed=1.0), is_default=True)

    at_frontend(scenario)


def test_client_that_says_how_long_it_waits_is_believed() -> None:
    async def scenario(frontend: Frontend) -> None:
        frontend.clients_leave_after(5.0, 20, ClientGone("gone"))
        subject = model(fixed=3.0)
        frontend.take(subject)
        frontend.refuse(subject, is_default=True)
        frontend.take(subject, seconds=60)

    at_frontend(scenario)


def test_clients_that_say_how_long_they_wait_tell_nothing_of_the_others() -> None:
    async def scenario(frontend: Frontend) -> None:
        frontend.clients_leave_after(5.0, 20, ClientGone("gone"), is_default=False)
        assert frontend.admission.patience.seconds() == float("inf")

    at_frontend(scenario)


def test_newcomer_that_would_have_another_given_up_is_refused() -> None:
    """The poster takes 20 s and is given up when fewer than 25 are left; thumbnails, due before it, take 0.4 s each."""

    async def scenario(frontend: Frontend) -> None:
        poster, thumbnail = model(**SECOND_PER_TILE), model(fixed=0.4)
        promised = frontend.take(poster, 50, 40, seconds=20 * SAFETY_FACTOR + 1)
        for _ in range(2):
            frontend.take(thumbnail, seconds=1000)
        refusal = frontend.refuse(thumbnail, seconds=1000)
        assert "would make an answer late that another client waits for" in refusal.detail
        assert refusal.members == {"retry_after": math.ceil(2 * 0.4 + 20 * SAFETY_FACTOR)}
        frontend.take(model(fixed=0.1), seconds=1000)
        assert frontend.admission.predicted_finish(promised) < promised.deadline.at

    at_frontend(scenario)


def test_newcomer_that_is_less_urgent_harms_nobody() -> None:
    async def scenario(frontend: Frontend) -> None:
        frontend.take(model(fixed=2.0), seconds=2.1 * SAFETY_FACTOR)
        frontend.take(model(fixed=2.0), seconds=1000)
        frontend.take(model(**SECOND_PER_TILE), 50, 40, seconds=1000)

    at_frontend(scenario)


def test_what_will_be_given_up_anyway_refuses_nobody() -> None:
    async def scenario(frontend: Frontend) -> None:
        doomed = frontend.take(model(**SECOND_PER_TILE), 50, 40, seconds=60)
        doomed.deadline = Deadline(NOW + 20 * SAFETY_FACTOR + 0.05)
        frontend.refuse(model(fixed=0.1), seconds=1000)
        doomed.deadline = Deadline(doomed.deadline.at - 1)
        frontend.take(model(fixed=0.1), seconds=1000)

    at_frontend(scenario)


def test_late_work_comes_before_newcomers_for_as_long_as_it_is_wanted() -> None:
    async def scenario(frontend: Frontend) -> None:
        frontend.take(model(**SECOND_PER_TILE), 50, 40, seconds=60, grace=500).deadline = Deadline(NOW - 10, grace=500)
        refusal = frontend.refuse(model(fixed=0.1), seconds=20)
        assert refusal.members == {"retry_after": math.ceil(20.1 * SAFETY_FACTOR - 20)}
        frontend.take(model(fixed=0.1), seconds=30)

    at_frontend(scenario)


def test_what_a_lost_replica_had_accepted_is_taken_though_the_service_is_full() -> None:
    async def scenario(frontend: Frontend) -> None:
        frontend.take(model(**SECOND_PER_TILE), 50, 40, seconds=30)
        frontend.take(model(fixed=0.01))
        assert "would be admitted, 2 are accepted" in frontend.refuse(model(fixed=0.01)).detail
        for _ in range(3):
            frontend.take(model(fixed=5.0), seconds=5, admitted_before=True)
        refusal = frontend.refuse(model(), 100, 100, admitted_before=True)
        assert "output pixels would be admitted" in refusal.detail

    at_frontend(scenario, requests=2, pixels=10_000)


def test_lanes_share_what_a_newcomer_adds() -> None:
    async def scenario(frontend: Frontend) -> None:
        frontend.take(model(**SECOND_PER_TILE), 50, 40, seconds=10 * SAFETY_FACTOR + 0.15)
        frontend.take(model(fixed=0.2), seconds=1000)
        frontend.refuse(model(fixed=0.2), seconds=1000)

    at_frontend(scenario, lanes=2)


@pytest.mark.parametrize("error", [DeadlineExceeded("late"), ValueError("broken")])
def test_failures_say_nothing_of_patience(error: Exception) -> None:
    async def scenario(frontend: Frontend) -> None:
        frontend.clients_leave_after(5.0, 20, error)
        assert frontend.admission.patience.seconds() == float("inf")

    at_frontend(scenario)


def test_listener_is_told_when_there_may_be_room() -> None:
    async def scenario(frontend: Frontend) -> None:
        frontend.take(model())
        assert frontend.listener.heard == ["changed"]
        with frontend.admission.admit([InferenceSpec(model(), 1, 1)], Deadline(LATER)):
            assert frontend.listener.heard == ["changed"] * 2  # there may be room for more
        assert frontend.listener.heard == ["changed"] * 3

    at_frontend(scenario)


def test_listener_is_told_when_everything_is_answered_or_nothing_is_admitted_any_more() -> None:
    async def scenario(frontend: Frontend) -> None:
        with frontend.admission.admit([InferenceSpec(model(), 1, 1)], Deadline(LATER)):
            pass
        assert frontend.listener.heard == ["changed", "invalid"]
        frontend.admission.close()
        assert frontend.listener.heard[-1] == "invalid"

    at_frontend(scenario)


def test_drain_admits_nothing_and_waits_for_what_was_admitted() -> None:
    async def scenario(frontend: Frontend) -> None:
        with frontend.admission.admit([InferenceSpec(model(), 1, 1)], Deadline(LATER)):
            draining = asyncio.create_task(frontend.admission.drain(LATER))
            await asyncio.sleep(0)
            assert frontend.admission.draining
            with pytest.raises(Draining):
                frontend.take(model())
            await asyncio.sleep(0.01)
            assert not draining.done()
        await draining

    at_frontend(scenario)


def test_drain_answers_what_does_not_finish_in_time() -> None:
    async def scenario(frontend: Frontend) -> None:
        request = frontend.take(model(**SECOND_PER_TILE), 100, 100)
        await frontend.admission.drain(0)
        with pytest.raises(Draining):
            await request.result
        assert not request.waiting_tiles

    at_frontend(scenario)


def test_drained_job_that_nobody_waits_for_is_silent() -> None:
    """Asyncio reports exceptions that were never retrieved, and a report is a failure here (warnings are errors)."""

    async def scenario(frontend: Frontend) -> None:
        reports: list[dict[str, Any]] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: reports.append(context))
        with frontend.admission.admit([InferenceSpec(model(), 1, 1)], Deadline(LATER)):
            await frontend.admission.drain(0)
        await asyncio.sleep(0)
        assert reports == []

    at_frontend(scenario)


def test_images_of_one_request_are_admitted_together_or_not_at_all() -> None:
    async def scenario(frontend: Frontend) -> None:
        subject = model(fixed=1.0)
        with frontend.admission.admit([InferenceSpec(subject, 10, 10)] * 4, Deadline(LATER)) as requests:
            assert len(set(requests)) == 4
            assert frontend.value("admitted_requests") == 1
            assert frontend.value("admitted_pixels") == 400
            assert frontend.value("backlog_seconds") == pytest.approx(4)
            with pytest.raises(Overloaded, match="800 output pixels would be admitted, 700 are accepted"):
                frontend.requests.enter_context(
                    frontend.admission.admit([InferenceSpec(subject, 10, 10)] * 4, Deadline(LATER))
                )
            assert len(frontend.admission.inferences) == 4
        assert frontend.value("admitted_requests") == 0
        assert not frontend.admission.inferences

    at_frontend(scenario, requests=2, pixels=700)


def test_time_of_all_images_of_a_request_counts() -> None:
    async def scenario(frontend: Frontend) -> None:
        subject = model(fixed=10.0)
        frontend.take(subject)
        with pytest.raises(Overloaded) as refusal:
            frontend.admission.check([InferenceSpec(subject, 10, 10)] * 3, Deadline(NOW + 20))
        assert would_take(20) in refusal.value.detail  # half of 10 before them, and half of 30
        assert len(frontend.admission.check([InferenceSpec(subject, 10, 10)] * 3, Deadline(NOW + 40))) == 3

    at_frontend(scenario, lanes=2)


def test_client_that_leaves_abandons_all_its_images() -> None:
    async def scenario(frontend: Frontend) -> None:
        seen: list[InferenceRequest[Model]] = []
        with (
            suppress(ClientGone),
            frontend.admission.admit([InferenceSpec(model(), 1, 1)] * 3, Deadline(LATER)) as requests,
        ):
            seen += requests
            for request in requests:
                request.device_seconds = 2.0
            raise ClientGone("gone")
        assert all(request.abandoned and request.result.cancelled() for request in seen)
        assert frontend.value("device_wasted_seconds_total") == 6.0

    at_frontend(scenario)


def test_too_many_inference_requests_are_refused() -> None:
    async def scenario(frontend: Frontend) -> None:
        work = [InferenceSpec(model(), 1, 1), InferenceSpec(model(), 1, 1)]
        with frontend.admission.admit(work, Deadline(LATER), frames=3) as requests:
            assert [request.spec for request in requests] == work * 3
            assert frontend.value("admitted_inferences") == 6
            with pytest.raises(Overloaded) as refusal:
                frontend.admission.check(work, Deadline(LATER), frames=2)
            assert "10 inference requests (frames times networks) would be admitted, 9 are" in refusal.value.detail
            assert (refusal.value.retry_after, refusal.value.frames, refusal.value.pixels) == (1, 2, 4)
            for _ in range(3):
                frontend.take(model())
            assert "10 inference requests" in frontend.refuse(model()).detail
        assert frontend.value("admitted_inferences") == 3

    at_frontend(scenario, inferences=9)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    admitted=st.lists(
        st.tuples(st.integers(1, 6), st.sampled_from([0.0, 0.3, 2.0]), st.floats(1, 60), st.sampled_from(Priority)),
        max_size=5,
    ),
    newcomer=st.tuples(st.integers(1, 6), st.sampled_from([0.0, 0.1, 0.5]), st.floats(1, 60)),
)
def test_frames_of_an_animation_are_judged_as_single_images_are(
    admitted: list[tuple[int, float, float, Priority]], newcomer: tuple[int, float, float]
) -> None:
    """What is kept and predicted together is decided on as if each frame were looked at."""

    def refusal(*, together: bool) -> str:
        async def scenario(frontend: Frontend) -> None:
            for frames, fixed, seconds, priority in admitted:
                specs = [InferenceSpec(model(fixed=fixed), 10, 10)]
                with suppress(Overloaded):
                    first = frontend.admission.check(specs, Deadline(NOW + seconds, priority), frames=frames)
                    animation = first + [first[0].for_later_frame() for _ in range(frames - 1)]
                    frontend.admission.backlog.add(animation, networks=1 if together else frames)
            frames, fixed, seconds = newcomer
            try:
                specs = [InferenceSpec(model(fixed=fixed), 10, 10)]
                frontend.admission.check(specs, Deadline(NOW + seconds), frames=frames)
            except Overloaded as overloaded:
                found.append(overloaded.detail)

        found: list[str] = []
        at_frontend(scenario, lanes=2)
        return "".join(found)

    assert refusal(together=True) == refusal(together=False)


def test_photograph_does_not_wait_for_the_frames_of_an_animation() -> None:
    async def scenario(frontend: Frontend) -> None:
        animation = [InferenceSpec(model(fixed=0.1), 10, 10)]
        with frontend.admission.admit(animation, Deadline(NOW + 300), frames=600):
            photograph = frontend.take(model(fixed=0.3), seconds=2)
            assert frontend.admission.forecast(photograph) == pytest.approx((0, 0.3))
            large = frontend.take(model(fixed=2.0), seconds=10)  # due after a pause of the animation
            assert frontend.admission.forecast(large) == pytest.approx((0.3 + 0.1, 2))

    at_frontend(scenario)


def test_animation_waits_for_its_share_and_is_not_made_late() -> None:
    async def scenario(frontend: Frontend) -> None:
        animation = [InferenceSpec(model(fixed=0.1), 10, 10)]
        with frontend.admission.admit(animation, Deadline(NOW + 80), frames=600):
            frontend.take(model(fixed=10.0))
            assert "would make an answer late" in frontend.refuse(model(fixed=10.0)).detail

    at_frontend(scenario)


def test_animation_is_due_before_one_that_takes_more_work() -> None:
    async def scenario(frontend: Frontend) -> None:
        small, large = [InferenceSpec(model(fixed=0.1), 10, 10)], [InferenceSpec(model(fixed=0.1), 10, 10)]
        with (
            frontend.admission.admit(large, Deadline(LATER), frames=300) as first,
            frontend.admission.admit(small, Deadline(LATER), frames=100) as second,
        ):
            assert max(request.due() for request in second) < max(request.due() for request in first)
            assert frontend.admission.predicted_finish(second[-1]) == pytest.approx(NOW + 10 + 0.1)

    at_frontend(scenario)
