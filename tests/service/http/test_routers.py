from fastapi import FastAPI
from fastapi.testclient import TestClient

from service.http.routers import add_routes, new_router
from service.http.unknown_parameters import StrictRoute


def application() -> FastAPI:
    async def endpoint(number: int = 1) -> int:
        return number

    router, app = new_router(responses={401: {"description": "of its own"}, 404: {"description": "missing"}}), FastAPI()
    router.add_api_route("/numbers", endpoint)
    add_routes(app, router)
    return app


def test_routes_of_a_router_are_those_of_the_application_and_are_made_once() -> None:
    app = application()
    assert isinstance(app.router.routes[-1], StrictRoute)  # `include_router` leaves something that makes it later
    answer = TestClient(app).get("/numbers?number=3")
    assert (answer.status_code, answer.json()) == (200, 3)


def test_every_endpoint_says_what_may_become_of_any_request() -> None:
    described = application().openapi()["paths"]["/numbers"]["get"]["responses"]
    assert described.keys() >= {"200", "401", "403", "404", "421", "429"}
    assert described["401"]["description"] == "of its own"
