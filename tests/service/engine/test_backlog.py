"""What is predicted of all that is admitted. Frames of one animation are predicted together; see test_admission.py."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from typing import Any

import pytest

from service.engine.backlog import Backlog
from service.engine.cost_model import CostModel
from service.engine.deadline import Deadline
from service.engine.inference_request import InferenceRequest, RequestGroup
from service.engine.inference_spec import InferenceSpec
from service.engine.priority import SchedulingPolicy
from tests.service.imaging.images import photo
from tests.service.pointwise import Model, model

LATER = 1e9
NOW = 1000.0


def requests(subject: Model, count: int = 1, **options: Any) -> list[InferenceRequest[Model]]:
    """Those of an animation with so many frames."""
    spec = InferenceSpec(subject, 10, 10)
    options["group"] = RequestGroup(count * spec.work_seconds)
    first = InferenceRequest(spec, Deadline(LATER), clock=lambda: NOW, **options)
    return [first, *(first.for_later_frame() for _ in range(count - 1))]


def with_backlog(scenario: Callable[[Backlog[Model]], Awaitable[None]], lanes: int = 1) -> None:
    async def run() -> None:
        await scenario(Backlog(lanes, clock=lambda: NOW))

    asyncio.run(run())


def test_sums_are_those_of_all_frames_and_networks() -> None:
    async def scenario(backlog: Backlog[Model]) -> None:
        first, second = requests(model(fixed=1.0), 3), requests(model(scale=2, fixed=2.0), 3)
        mixture = [request for frame in zip(first, second, strict=True) for request in frame]
        backlog.add(mixture, networks=2)
        backlog.add(one := requests(model(fixed=4.0)), networks=1)
        assert (backlog.client_requests, len(backlog.inferences)) == (2, 7)
        assert backlog.output_pixels == 3 * 100 + 3 * 400 + 100
        assert backlog.seconds() == pytest.approx((3 * 1 + 3 * 2 + 4) / 2)
        assert [prediction.inferences for prediction in backlog.predictions()] == [1, 2, 1, 2, 1]
        backlog.remove(mixture)
        assert (backlog.client_requests, list(backlog.inferences), backlog.output_pixels) == (1, one, 100)
        assert backlog.seconds() == pytest.approx(2)

    with_backlog(scenario, lanes=2)


def test_frames_that_have_started_count_alone_and_those_that_are_done_no_more() -> None:
    async def scenario(backlog: Backlog[Model]) -> None:
        frames = requests(model(fixed=0.1), 5)
        backlog.add(frames, networks=1)
        with backlog.queued(frames[0]):
            with backlog.queued(frames[2]):
                frames[2].enqueue(photo(0, 10, 10), predicted_finish=0.0)
                assert [(each.inferences, each.waits) for each in backlog.predictions()] == [(5, True)]
                frames[2].start_tile()
                assert [(each.inferences, each.waits) for each in backlog.predictions()] == [(1, False), (4, True)]
                assert backlog.seconds() == pytest.approx(0.4)
            assert [each.inferences for each in backlog.predictions()] == [4]
            assert [each.inferences for each in backlog.predictions(without=frames[:2])] == [2]
        assert len(backlog.inferences) == 5

    with_backlog(scenario)


def test_frames_in_the_queue_hurry_a_long_animation_on() -> None:
    """The first frame, and those that are decoded, are due soon; the others when the whole animation is."""

    async def scenario(backlog: Backlog[Model]) -> None:
        frames, policy = requests(model(fixed=1.0), 60), SchedulingPolicy()
        backlog.add(frames, networks=1)
        pause, whole = NOW + policy.longest_pause, NOW + 60 * policy.stretch
        assert [(each.inferences, each.due) for each in backlog.predictions()] == [(1, pause), (59, whole)]
        with backlog.queued(frames[0]), backlog.queued(frames[1]):
            for frame in frames[:2]:
                frame.enqueue(photo(0, 10, 10), predicted_finish=0.0)
            frames[0].times.last_tile += 2
            assert [(each.inferences, each.due) for each in backlog.predictions()] == [
                (1, pause + 2),
                (1, pause),
                (58, whole),
            ]
            assert [each.inferences for each in backlog.predictions(without=frames[1:3])] == [1, 57]
        assert [(each.inferences, each.due) for each in backlog.predictions()] == [(58, whole)]

    with_backlog(scenario)


def test_forecast_of_an_admitted_frame_counts_the_others() -> None:
    async def scenario(backlog: Backlog[Model]) -> None:
        frames = requests(model(fixed=1.0, speed_up=2.0), 3)
        backlog.add(frames, networks=1)
        assert list(backlog.forecast(frames[1:2])) == pytest.approx([2, 1])
        backlog.remove(frames)
        assert list(backlog.forecast(frames[1:2])) == pytest.approx([0, 0.5])  # alone, it runs on all lanes
        assert list(backlog.forecast(frames[1:2], frames=3)) == pytest.approx([0, 3])

    with_backlog(scenario)


def test_forecast_counts_the_time_until_the_weights_are_there() -> None:
    async def scenario() -> None:
        cold, warm = model("cold", fixed=2.0), model("warm", fixed=2.0)
        backlog = Backlog[Model](1, lambda: NOW, lambda subject: 3.0 if subject is cold else 0.0)
        assert backlog.forecast(requests(cold)) == (0, 5)
        assert backlog.forecast(requests(warm)) == (0, 2)

    asyncio.run(scenario())


def test_prediction_does_not_look_at_each_frame() -> None:
    """An attack: 64 animations of 600 frames, of each of which as many as are decoded ahead are queued."""

    class Counting(CostModel):
        asked = 0

        def seconds(self, pixels: float, batches: float = 1, *, exclusive: bool = False) -> float:
            Counting.asked += 1
            return super().seconds(pixels, batches, exclusive=exclusive)

    async def scenario(backlog: Backlog[Model]) -> None:
        base = model()
        subject, queued = Model(base.name, base.scale, base.tiling, Counting(0.1, 0.0)), ExitStack()
        animations = [requests(subject, 600) for _ in range(64)]
        for frames in animations:
            backlog.add(frames, networks=1)
        newcomer = requests(subject, 600)[:1]
        for frame in (frame for frames in animations for frame in frames[:8]):
            queued.enter_context(backlog.queued(frame))
            frame.enqueue(photo(0, 10, 10), predicted_finish=0.0)
        Counting.asked = 0
        ahead, _ = backlog.forecast(newcomer, frames=600)
        assert ahead == pytest.approx(64 * 60)
        assert Counting.asked < 64 * 20  # twice for each queued frame and those that are not

    with_backlog(scenario)
