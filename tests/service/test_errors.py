import asyncio
from pathlib import Path

import httpx
import pytest

from service.app import create_app
from service.errors import PROBLEM_MEDIA_TYPE, Draining, ImageTooLarge, Overloaded, ServiceError, kinds, render
from tests.service.live import settings


def test_every_kind_is_distinct_and_explained() -> None:
    every = list(kinds())
    assert len({kind.kind for kind in every}) == len(every) > 15
    assert all(kind.__doc__ and kind.title for kind in every)
    assert {kind.status for kind in every} == {400, 404, 405, 406, 408, 409, 413, 415, 422, 499, 500, 503, 504, 507}


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


def test_headers_of_a_failure_are_sent() -> None:
    assert render(Overloaded("full", headers={"Retry-After": "7"}), "id").headers["Retry-After"] == "7"
    assert render(Draining(), "id").headers["Connection"] == "close"


def test_members_cannot_hide_what_the_rfc_defines() -> None:
    with pytest.raises(TypeError):
        ServiceError("one", detail="other")  # type: ignore[misc]


def test_unexpected_failure_tells_nothing_of_the_inside(tmp_path: Path) -> None:
    app = create_app(settings(tmp_path))

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
