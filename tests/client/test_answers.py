import pytest
from pydantic import BaseModel

from client import answers
from client.answers import Estimate, JobStatus, Progress
from client.errors import UnknownModel
from service.http import job_status
from service.http.routes import estimates, health, models
from service.pipeline import result


@pytest.mark.parametrize(
    ("ours", "theirs", "left_out"),
    [
        (answers.ModelVersion, result.ModelVersion, set()),
        (answers.JobResult, result.Result, set()),
        (answers.JobStatus, job_status.JobStatus, set()),
        (answers.Progress, job_status.Progress, set()),
        (answers.Estimate, estimates.Estimate, set()),
        (answers.Sides, estimates.Sides, set()),
        (answers.ModelSummary, models.ModelSummary, set()),
        (answers.ModelDetails, models.ModelDetails, {"id", "object", "owned_by"}),  # for OpenAI's clients
        (answers.ModelList, models.ModelList, {"object", "data"}),  # for OpenAI's clients
        (answers.Health, health.Ready, set()),
    ],
)
def test_members_are_those_of_the_service(ours: type[BaseModel], theirs: type[BaseModel], left_out: set[str]) -> None:
    assert ours.model_fields.keys() == theirs.model_fields.keys() - left_out


PROBLEM = {"type": "/problems/unknown-model", "detail": "no", "status": 404, "available": ["wave"]}


def test_problem_of_an_estimate_is_the_error_of_the_call() -> None:
    unknown = dict.fromkeys(("output", "pixels", "inferences", "tiles", "queue_seconds", "infer_seconds"))
    estimate = Estimate.model_validate({"accepted": False, "problem": PROBLEM, "models": [], **unknown})
    assert isinstance(estimate.refusal, UnknownModel)
    assert estimate.model_copy(update={"problem": None}).refusal is None


def test_job_has_ended_with_a_result_or_a_failure() -> None:
    common = {"id": "a", "task": "stylize", "created": "2026-01-01T00:00:00Z", "seconds": {}}
    states = [
        JobStatus.model_validate({**common, "state": state, "progress": {"tiles": 4, "done": 1}, "of_later": 1})
        for state in ("queued", "running", "succeeded", "failed")
    ]
    assert [status.ended for status in states] == [False, False, True, True]
    assert states[0].failure is None
    assert isinstance(states[3].model_copy(update={"problem": PROBLEM}).failure, UnknownModel)
    assert states[1].progress.fraction == 0.25
    assert Progress(tiles=0, done=0).fraction == 0
