import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import httpx
from fastapi import APIRouter

from service.errors import ImageTooLarge
from service.http.access.address_quotas import AddressQuotas
from service.http.access.api_key import LimitPolicy
from service.http.application import Application, build_application
from service.http.body_budget import BodyBudget
from service.http.middleware.access_control import AccessPolicy
from service.http.middleware.body_reservation import Upload
from service.http.routers import new_router
from service.http.upload_pace import Pace
from service.settings import Settings
from service.telemetry.metrics import Metrics
from service.telemetry.tracing import Propagation


@asynccontextmanager
async def lifespan(_app: object) -> AsyncIterator[None]:
    yield


def application(router: APIRouter, metrics: Metrics) -> Application:
    access = AccessPolicy(None, AddressQuotas(LimitPolicy()))
    upload = partial(Upload, BodyBudget(6400, metrics), Pace(1.0))
    return build_application(lifespan, [router], metrics, Settings(), access, upload, Propagation())


async def ask(path: str, metrics: Metrics) -> httpx.Response:
    """The response of an application with one route, which refuses everything."""
    router = new_router()

    @router.get("/large")
    async def large() -> None:
        raise ImageTooLarge("9 exceed 8", limit="max_pixels", actual=9, max_accepted=8)

    transport = httpx.ASGITransport(application(router, metrics))
    async with httpx.AsyncClient(transport=transport, base_url="http://here") as client:
        return await client.get(path, headers={"X-Request-ID": "mine"})


def test_routes_have_ids_metrics_problems_and_strict_parameters() -> None:
    metrics = Metrics()
    for path, status in (("/large", 422), ("/large/", 422), ("/none", 404)):
        answer = asyncio.run(ask(path, metrics))
        assert (answer.status_code, answer.headers["X-Request-ID"]) == (status, "mine")
        assert answer.headers["Content-Type"] == "application/problem+json"
    assert "query.page: no such parameter" in asyncio.run(ask("/large?page=2", metrics)).json()["detail"]
    labels = {"route": "/large", "method": "GET", "code": "422"}
    assert metrics.registry.get_sample_value("pastiche_http_requests_total", labels) == 3


def test_endpoints_are_summed_up_by_the_first_sentence_of_their_docstring() -> None:
    router = APIRouter()

    async def every() -> None:
        """What is served, and
        what is not. More of it."""

    async def bare() -> None:
        pass

    async def status() -> None:
        """The state of a job."""

    router.add_api_route("/every", every)
    router.add_api_route("/bare", bare)
    router.add_api_route("/status", status, summary="Status of a job")
    paths = application(router, Metrics()).openapi()["paths"]
    every_, bare_, status_ = (paths[path]["get"] for path in ("/every", "/bare", "/status"))
    assert (every_["summary"], every_["description"]) == ("What is served, and what is not", "More of it.")
    assert bare_["summary"] == "Bare"
    assert (status_["summary"], status_["description"]) == ("Status of a job", "The state of a job.")
