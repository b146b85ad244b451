"""Answers are tested in routes/test_edits.py."""

import json

import pytest

from service.errors import InvalidRequest, Overloaded, ServiceError
from service.http.openai.edit_answer import openai_error


@pytest.mark.parametrize(
    ("failure", "type_", "param"),
    [
        (InvalidRequest("wrong", param="size"), "invalid_request_error", "size"),
        (Overloaded("full", retry_after=7), "server_error", None),
    ],
)
def test_error_is_one_of_openais(failure: ServiceError, type_: str, param: str | None) -> None:
    answer = openai_error(failure, "mine")
    error = json.loads(bytes(answer.body))["error"]
    assert error == {"message": failure.detail, "type": type_, "param": param, "code": failure.kind}
    assert (answer.status_code, answer.headers["X-Request-ID"]) == (failure.status, "mine")
