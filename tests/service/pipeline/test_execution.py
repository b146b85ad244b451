import asyncio

from service.engine.deadline import Deadline
from service.engine.inference_request import InferenceRequest
from service.engine.inference_spec import InferenceSpec
from service.pipeline.execution import stage_seconds
from tests.service.pointwise import model


def test_stages_are_those_that_were_reached() -> None:
    async def scenario() -> None:
        waiting = InferenceRequest(InferenceSpec(model(), 10, 10), Deadline(1e9))
        assert stage_seconds([waiting]) == {"queue": 0.0}
        waiting.times.queued, waiting.times.started, waiting.times.finished = 1.0, 3.0, 7.0
        assert stage_seconds([waiting]) == {"queue": 2.0, "infer": 4.0}
        waiting.times.started = 0.0  # it failed in the queue
        assert stage_seconds([waiting]) == {"queue": 6.0}

    asyncio.run(scenario())
