import asyncio
from datetime import UTC, datetime

from service.engine.deadline import Deadline
from service.engine.inference_request import InferenceRequest
from service.engine.inference_spec import InferenceSpec
from service.jobs.job import Job, JobState, owned_id, public_id
from service.jobs.record import JobOutcome, JobProgress, StoredFailure
from service.pipeline.trace import Trace
from tests.service.imaging.images import photo
from tests.service.jobs.test_record import RESULT, record
from tests.service.pointwise import Model, model


def test_state_is_that_of_the_outcome() -> None:
    running = JobProgress(started=datetime.now(UTC))
    failed = JobOutcome(failure=StoredFailure(kind="overloaded", detail="full"))
    succeeded = Job(record("one"), JobOutcome(result=RESULT, tiles=9))
    assert Job(record("one")).state is JobState.QUEUED
    assert Job(record("one"), progress=running).state is JobState.RUNNING
    assert Job(record("one"), failed, running).state is JobState.FAILED
    assert succeeded.state is JobState.SUCCEEDED
    assert (succeeded.tiles, succeeded.tiles_done) == (9, 9)


def test_progress_is_that_of_the_inference_requests() -> None:
    async def run() -> None:
        trace, began = Trace("id"), datetime.now(UTC)
        assert Job(record("one"), progress=JobProgress.of(trace, began)).tiles == 0
        request: InferenceRequest[Model] = InferenceRequest(InferenceSpec(model(tile=100), 20, 30), Deadline(1e9))
        trace.inferences.append(request)
        request.enqueue(photo(0, 20, 30), predicted_finish=0.0)
        first, _second = request.start_tile(), request.start_tile()
        request.finish_tile(first.tile, 0.1)
        job = Job(record("one"), progress=JobProgress.of(trace, began))
        assert (job.tiles, job.tiles_done, job.started) == (6, 1, began)

    asyncio.run(run())


def test_ids_of_two_owners_are_never_equal() -> None:
    kept = {owned_id(owner, job) for owner in ("", "a", "a-b") for job in ("mine", "b-mine", "a")}
    assert len(kept) == 9
    assert {public_id(each) for each in kept} == {"mine", "b-mine", "a"}
