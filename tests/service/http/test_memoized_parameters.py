from collections.abc import Iterator
from typing import Annotated, Any

import pytest
from fastapi import Header, Query, Request, Response
from fastapi.testclient import TestClient
from pydantic import BaseModel, ConfigDict, field_validator
from starlette.responses import JSONResponse

from service.http import memoized_parameters
from service.http.application import build_metrics_application
from service.http.memoized_parameters import MemoizingRoute
from service.http.routers import new_router

validated: list[int] = []


class Options(BaseModel):
    model_config = ConfigDict(frozen=True)

    quality: int = 90
    size: str = ""

    @field_validator("quality", mode="after")
    @classmethod
    def count(cls, value: int) -> int:
        validated.append(value)
        return value


async def endpoint(
    request: Request,
    style: str,
    options: Annotated[Options, Query()],
    prefer: Annotated[list[str] | None, Header(alias="Prefer")] = None,
) -> Response:
    return JSONResponse([style, options.quality, options.size, prefer, request.headers.get("X-Mine")])


@pytest.fixture
def client() -> Iterator[TestClient]:
    router = new_router(route_class=MemoizingRoute)
    router.add_api_route("/{style}", endpoint, methods=["POST"], response_class=Response)
    app = build_metrics_application([router])
    validated.clear()
    with TestClient(app) as client:
        yield client


def _answer(client: TestClient, path: str, **headers: str) -> Any:
    return client.post(path, headers=headers).json()


def test_equal_parameters_are_validated_once_and_the_request_is_each_ones_own(client: TestClient) -> None:
    assert _answer(client, "/wave?quality=50", **{"X-Mine": "a"}) == ["wave", 50, "", None, "a"]
    assert _answer(client, "/wave?quality=50", **{"X-Mine": "b"}) == ["wave", 50, "", None, "b"]
    assert validated == [50]


def test_path_query_and_headers_are_told_apart(client: TestClient) -> None:
    for _ in range(2):
        assert _answer(client, "/wave?quality=50") == ["wave", 50, "", None, None]
        assert _answer(client, "/scream?quality=50") == ["scream", 50, "", None, None]
        assert _answer(client, "/wave?quality=51") == ["wave", 51, "", None, None]
        assert _answer(client, "/wave?quality=50&size=8") == ["wave", 50, "8", None, None]
        assert _answer(client, "/wave?quality=50", Prefer="a") == ["wave", 50, "", ["a"], None]
        assert _answer(client, "/wave?quality=50", prefer="b") == ["wave", 50, "", ["b"], None]
    assert len(validated) == 6


def test_a_path_is_not_taken_for_a_query(client: TestClient) -> None:
    assert _answer(client, "/wave")[:3] == ["wave", 90, ""]
    assert _answer(client, "/quality=50")[:3] == ["quality=50", 90, ""]
    assert _answer(client, "/wave?quality=50")[:3] == ["wave", 50, ""]


def test_a_header_that_comes_twice_keeps_both_values(client: TestClient) -> None:
    for _ in range(2):
        answer = client.post("/wave", headers=[("Prefer", "a"), ("Prefer", "b")])
        assert answer.json()[3] == ["a", "b"]
        assert client.post("/wave", headers=[("Prefer", "a"), ("Prefer", "c")]).json()[3] == ["a", "c"]


def test_what_is_refused_is_refused_again(client: TestClient) -> None:
    for query in ("quality=high", "qualiti=50", "quality=50&quality=50"):
        first, second = (client.post(f"/wave?{query}") for _ in range(2))
        assert first.status_code == second.status_code == 422
        assert first.json()["detail"] == second.json()["detail"]


def test_what_is_kept_is_bounded(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memoized_parameters, "MOST_ENTRIES", 2)
    for quality in (1, 2, 3, 3, 2, 1):
        assert _answer(client, f"/wave?quality={quality}")[1] == quality
    assert validated == [1, 2, 3, 1]


def test_long_parameters_are_not_kept(client: TestClient) -> None:
    size = "x" * memoized_parameters.LONGEST_KEY
    for _ in range(2):
        assert _answer(client, f"/wave?quality=50&size={size}")[2] == size
    assert validated == [50, 50]
