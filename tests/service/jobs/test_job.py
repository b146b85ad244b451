import asyncio
from datetime import UTC, datetime

from service.engine.deadline import Deadline
from service.engine.inference_request import InferenceRequest
from service.engine.inference_spec import InferenceSpec
from service.jobs.job import Job, JobState, owned_id, public_id
from service.jobs.record import JobOutcome, StoredFailure
from service.pipeline.trace import Trace
from tests.service.imaging.images import photo
from tests.service.jobs.test_record import RESULT, record
from tests.service.pointwise import Model, model


def test_state_is_that_of_the_outcome() -> None:
    async def run() -> None:
        job = Job(record("one"), Trace("id"))
        seen = [job.state]
        job.started = datetime.now(UTC)
        seen.append(job.state)
        job.outcome = JobOutcome(failure=StoredFailure(kind="overloaded", detail="full"))
        seen.append(job.state)
        job.outcome = JobOutcome(result=RESULT, tiles=9)
        seen.append(job.state)
        assert seen == [JobState.QUEUED, JobState.RUNNING, JobState.FAILED, JobState.SUCCEEDED]
        assert (job.tiles, job.tiles_done) == (9, 9)

    asyncio.run(run())


def test_progress_is_that_of_the_inference_requests() -> None:
    async def run() -> None:
        job = Job(record("one"), Trace("id"))
        assert (job.tiles, job.tiles_done) == (0, 0)
        request: InferenceRequest[Model] = InferenceRequest(InferenceSpec(model(tile=100), 20, 30), Deadline(1e9))
        job.trace.inferences.append(request)
        request.enqueue(photo(0, 20, 30), predicted_finish=0.0)
        first, _second = request.start_tile(), request.start_tile()
        request.finish_tile(first.tile, 0.1)
        assert (job.tiles, job.tiles_done) == (6, 1)

    asyncio.run(run())


def test_ids_of_two_owners_are_never_equal() -> None:
    kept = {owned_id(owner, job) for owner in ("", "a", "a-b") for job in ("mine", "b-mine", "a")}
    assert len(kept) == 9
    assert {public_id(each) for each in kept} == {"mine", "b-mine", "a"}
