import pytest

from service.errors import ImageTooLarge, Overloaded
from service.imaging.codecs import ImageFormat
from service.jobs.record import JobOutcome, JobRecord, StoredFailure
from service.pipeline.requests import StylizeRequest
from service.pipeline.result import ModelVersion, Result

RESULT = Result(
    models=(ModelVersion(name="wave", version=1, digest="sha256:0"),),
    format="png",
    media_type="image/png",
    width=3,
    height=2,
    bytes=5,
    etag='"0"',
    seconds={},
)


def record(name: str) -> JobRecord:
    request = StylizeRequest(style="wave", formats=(ImageFormat.PNG,))
    return JobRecord(id=name, request=request, fingerprint="f", request_id="r")


@pytest.mark.parametrize(
    "failure",
    [ImageTooLarge("9 exceed 8", limit="max_pixels", actual=9, max_accepted=8), Overloaded("full", retry_after=7)],
)
def test_stored_failure_is_raised_as_it_was(failure: ImageTooLarge | Overloaded) -> None:
    stored = StoredFailure.model_validate_json(StoredFailure.of(failure).model_dump_json())
    again = stored.error()
    assert (type(again), again.detail, again.members) == (type(failure), failure.detail, failure.members)
    assert again.retry_after == failure.retry_after


def test_outcome_of_a_failure_has_no_result() -> None:
    outcome = JobOutcome.failed(Overloaded("full", retry_after=7))
    assert outcome.result is None
    assert outcome.failure == StoredFailure(kind="overloaded", detail="full", members={"retry_after": 7})
