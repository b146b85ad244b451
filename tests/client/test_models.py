import asyncio

import httpx
import pytest

from client.async_client import AsyncClient
from client.errors import AccessDenied, Unavailable
from client.files import UsageError
from client.models import named_models, require_models
from client.outage import Outage
from client.retries import RetryPolicy


def require(answer: httpx.Response | httpx.TransportError, *names: str) -> list[str]:
    """Ask a service that gives this answer to everything; returns the paths that were asked for."""
    asked: list[str] = []

    def handle(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.raw_path.decode())
        if isinstance(answer, httpx.Response):
            return answer
        raise answer

    async def run() -> None:
        async with AsyncClient("http://here", transport=httpx.MockTransport(handle)) as client:
            await require_models(client, names, RetryPolicy(), Outage(0, print))

    asyncio.run(run())
    return asked


def test_models_of_a_command() -> None:
    assert named_models("stylize", "wave:0.7,scream", {"model": "x4"}) == ["wave", "scream"]
    assert named_models("upscale", "4", {"model": "x4-perceptual, x2"}) == ["x4-perceptual", "x2"]
    assert named_models("upscale", "4", {}) == []


def test_each_model_is_asked_for_by_its_quoted_name() -> None:
    assert require(httpx.Response(200, json={}), "wave", "a/b") == ["/v1/models/wave", "/v1/models/a%2Fb"]


def test_unknown_model_is_a_wrong_command_and_the_most_similar_name_is_told() -> None:
    problem = {"type": "/problems/unknown-model", "detail": "no such model", "available": ["x4", "great-wave"]}
    with pytest.raises(UsageError, match=r"^no such model; did you mean great-wave\?$"):
        require(httpx.Response(404, json=problem), "graet-wave")
    unusable: list[object] = [[], None]
    for available in unusable:
        with pytest.raises(UsageError, match=r"^no such model$"):
            require(httpx.Response(404, json=problem | {"available": available}), "graet-wave")


@pytest.mark.parametrize("status", [403, 404, 500])
def test_other_refusals_are_left_to_the_images(status: int) -> None:
    assert require(httpx.Response(status, text="no"), "wave") == ["/v1/models/wave"]


@pytest.mark.parametrize(("status", "kind"), [(401, "unauthorized"), (401, ""), (403, "forbidden")])
def test_a_key_that_is_not_accepted_would_not_be_for_images_either(status: int, kind: str) -> None:
    with pytest.raises(AccessDenied, match="no key"):
        require(httpx.Response(status, json={"type": f"/problems/{kind}", "detail": "no key"}), "wave")


def test_service_that_is_away_is_not_asked_for_the_next_model() -> None:
    with pytest.raises(Unavailable):
        require(httpx.ConnectError("refused"), "wave", "scream")
