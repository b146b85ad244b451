import json
from functools import partial
from pathlib import Path

import pytest

from service.http.middleware.unshared_jobs import JOBS, UnsharedJobs
from service.http.problems import Problems
from service.http.webhooks.sender import CALLBACK_HEADER
from service.pipeline.trace import Trace
from tests.service.http.asgi import Fields, call
from tests.service.live import publish, serving, serving_clients

BUILD = partial(UnsharedJobs, problems=Problems())
HEADERS: Fields = [(b"accept", b"image/png"), (b"prefer", b"respond-async")]


CALLBACK: Fields = [*HEADERS, (b"x-callback-url", b"https://example.com/")]


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        ("/v1/jobs", HEADERS),
        ("/v1/jobs/mine", HEADERS),
        ("/v1/jobs/mine/result", HEADERS),
        ("/v1/stylize/wave", CALLBACK),
        ("/v1/images/edits", CALLBACK),
    ],
)
def test_jobs_are_refused(path: str, headers: Fields) -> None:
    scope, sent = call(BUILD, path, headers, state={"trace": Trace("mine")})
    assert not scope
    assert sent[0]["status"] == 501
    assert json.loads(sent[1]["body"])["type"] == "/problems/jobs-not-shared"


@pytest.mark.parametrize("path", ["/v1/stylize/wave", "/v1/jobsite", "/"])
def test_all_else_is_answered_without_the_preference_for_a_job(path: str) -> None:
    scope, sent = call(BUILD, path, HEADERS, state={"trace": Trace("mine")})
    assert scope["headers"] == HEADERS[:1]
    assert sent[0]["status"] == 200


def test_metrics_of_several_processes_name_the_routes(tmp_path: Path) -> None:
    publish(tmp_path)
    with serving(tmp_path, processes=2) as live:
        assert live.client.get("/v1/models/wave").status_code == 200
        assert live.metric("pastiche_http_requests_total", route="/v1/models/{name}") == 1


def test_description_of_the_api_has_the_refusal(tmp_path: Path) -> None:
    with serving_clients(tmp_path, processes=2) as live:
        paths = live.client.get("/openapi.json").json()["paths"]
    operations = [(path, operation) for path, of in paths.items() for operation in of.values()]
    found = {path for path, operation in operations if "501" in operation["responses"]}
    assert found == {
        path
        for path, operation in operations
        if path.startswith(JOBS) or CALLBACK_HEADER in (each["name"] for each in operation.get("parameters", ()))
    }
    assert len(found) == 5
