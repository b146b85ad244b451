"""Answers are tested in routes/test_automatic1111.py."""

import json

from service.errors import Overloaded
from service.http.automatic1111.answers import render_webui_error


def test_failure_has_what_clients_look_for() -> None:
    answer = render_webui_error(Overloaded("wait", retry_after=7), "mine")
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "7")
    expected = {"error": "The service is full", "detail": "wait", "body": "", "errors": "wait"}
    assert json.loads(bytes(answer.body)) == expected
