"""Routers as all parts of the API make them, and the application that has their routes."""

from collections.abc import Sequence
from typing import Any

from fastapi import APIRouter, FastAPI
from fastapi.routing import APIRoute

from service.http.problem_responses import problem_responses
from service.http.unknown_parameters import StrictRoute

REFUSALS = (401, 403, 421, 422, 429)
"""What a request may be answered before its endpoint is called: 422 for a parameter that is not known."""

Responses = dict[int | str, dict[str, Any]]
"""The framework's description of responses, by status."""


def new_router(
    *,
    responses: dict[int | str, dict[str, Any]] | None = None,
    refusals: Sequence[int] = REFUSALS,
    route_class: type[APIRoute] = StrictRoute,
    **options: Any,
) -> APIRouter:
    """A router whose endpoints take no unknown parameters; `responses` beside `refusals`, which need no endpoint."""
    known = {**problem_responses(*refusals), **(responses or {})}
    return APIRouter(responses=known, route_class=route_class, **options)


def add_routes(app: FastAPI, router: APIRouter) -> None:
    """Let an application answer the routes of a router.

    The framework's `include_router` would make each of them once more, which takes some tenths of a second of the first
    request.
    """
    app.router.routes.extend(router.routes)
