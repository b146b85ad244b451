import asyncio
import errno
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI, Response

from service.app import build_service
from service.errors import (
    BodyTimeout,
    Draining,
    ImageTooLarge,
    InferenceFailed,
    InvalidRequest,
    MethodNotAllowed,
    NotAcceptable,
    Overloaded,
    QuotaExceeded,
    ServiceError,
    Unauthorized,
)
from service.http.problems import PROBLEM_MEDIA_TYPE, Problems, failure_headers, render
from service.pipeline.trace import Trace
from tests.service.live import settings


def test_problem_has_the_members_of_the_rfc_and_its_own() -> None:
    error = ImageTooLarge("9 exceed 8", limit="max_pixels", actual=9, max_accepted=8)
    answer = render(error, "id-1")
    assert answer.status_code == 422
    assert answer.headers["Content-Type"] == PROBLEM_MEDIA_TYPE
    assert httpx.Response(422, content=bytes(answer.body)).json() == {
        "type": "/problems/image-too-large",
        "title": "The image is too large",
        "status": 422,
        "detail": "9 exceed 8",
        "instance": "id-1",
        "limit": "max_pixels",
        "actual": 9,
        "max_accepted": 8,
    }


@pytest.mark.parametrize(
    ("error", "header", "value"),
    [
        (Overloaded("full", retry_after=7), "Retry-After", "7"),
        (Overloaded("full", retry_after=0.5), "Retry-After", "1"),
        (Draining(), "Connection", "close"),
        (Draining(), "Retry-After", "1"),
        (BodyTimeout("late"), "Connection", "close"),
        (Unauthorized("none"), "WWW-Authenticate", 'Bearer realm="pastiche"'),
        (
            Unauthorized("x", error="invalid_token"),
            "WWW-Authenticate",
            'Bearer realm="pastiche", error="invalid_token"',
        ),
        (QuotaExceeded("used up", retry_after=7), "Retry-After", "7"),
        (NotAcceptable("none", available=[]), "Vary", "Accept"),
        (MethodNotAllowed("none", allowed="GET, HEAD"), "Allow", "GET, HEAD"),
        (ServiceError("failed"), "Connection", "close"),
        (ServiceError("failed"), "Cache-Control", "no-store"),
        (ServiceError("failed"), "X-Request-ID", "mine"),
    ],
)
def test_headers_of_a_failure(error: ServiceError, header: str, value: str) -> None:
    assert render(error, "mine").headers[header] == value


def test_type_leads_to_where_the_service_is_mounted() -> None:
    answer = render(InvalidRequest("wrong"), "mine", "/pastiche")
    assert httpx.Response(422, content=bytes(answer.body)).json()["type"] == "/pastiche/problems/invalid-request"


def test_other_failures_have_no_headers_of_their_own() -> None:
    common = {"X-Request-ID": "mine", "Cache-Control": "no-store"}
    assert failure_headers(InvalidRequest("wrong"), "mine") == failure_headers(InferenceFailed("nan"), "mine") == common


def test_unexpected_failure_tells_nothing_of_the_inside(tmp_path: Path) -> None:
    app: FastAPI = build_service(settings(tmp_path)).app

    @app.get("/broken")
    async def broken() -> None:
        raise RuntimeError("password: 1234")

    async def ask() -> httpx.Response:
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://here") as client:
            return await client.get("/broken", headers={"X-Request-ID": "mine"})

    answer = asyncio.run(ask())
    assert answer.status_code == 500
    assert answer.headers["Content-Type"] == PROBLEM_MEDIA_TYPE
    assert answer.headers.get_list("X-Request-ID") == ["mine"]
    assert answer.json()["instance"] == "mine"
    assert "1234" not in answer.text
    assert "RuntimeError" not in answer.text


def test_lack_of_resources_is_no_fault_of_the_request(tmp_path: Path) -> None:
    app: FastAPI = build_service(settings(tmp_path)).app

    @app.get("/broken")
    async def broken() -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    async def ask() -> httpx.Response:
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://here") as client:
            return await client.get("/broken")

    answer = asyncio.run(ask())
    assert (answer.status_code, answer.json()["type"]) == (503, "/problems/out-of-resources")
    assert (answer.headers["Retry-After"], answer.headers["Connection"]) == ("5", "close")


def test_paths_below_one_have_its_form() -> None:
    def plain(_failure: ServiceError, instance: str, _prefix: str) -> Response:
        return Response(instance)

    problems = Problems({"/v2": plain})
    for path, is_plain in (("/v2", True), ("/v2/models", True), ("/v22", False), ("/v1/v2", False)):
        scope = {"path": path, "state": {"trace": Trace("mine")}}
        assert (problems.response(scope, InvalidRequest("wrong")).body == b"mine") is is_plain


def test_path_allows_what_all_of_its_routes_do(tmp_path: Path) -> None:
    app = build_service(settings(tmp_path, root_path="/pastiche")).app

    async def ask(method: str, path: str) -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://here") as client:
            return await client.request(method, path)

    for method, path, allowed in (
        ("POST", "/v1/jobs/x", "DELETE, GET, HEAD, PUT"),
        ("POST", "/pastiche/v1/jobs/x/", "DELETE, GET, HEAD, PUT"),
        ("POST", "/v1/jobs/x/result", "GET, HEAD"),
        ("GET", "/v1/stylize/wave", "POST"),
        ("HEAD", "/v1/stylize/wave", "POST"),
        ("PUT", "/static-offline-docs/swagger-ui.css", "GET, HEAD"),
    ):
        answer = asyncio.run(ask(method, path))
        assert (answer.status_code, answer.headers["Allow"]) == (405, allowed)
        if method != "HEAD":
            assert answer.json()["allowed"] == allowed
            assert answer.json()["detail"].endswith(f" accepts {allowed}")
