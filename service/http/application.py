"""The ASGI application: routes, middleware and error handling."""

import re
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Any

from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.middleware.cors import CORSMiddleware
from fastapi.routing import APIRoute
from fastapi_offline import FastAPIOffline

from service.errors import ServiceError
from service.http.failure_forms import PROBLEMS
from service.http.middleware.access_control import AccessControl, AccessPolicy, needed_right
from service.http.middleware.access_log import AccessLog
from service.http.middleware.allowed_hosts import AllowedHosts
from service.http.middleware.body_reservation import BodyReservation, Upload
from service.http.middleware.forwarded import Forwarded
from service.http.middleware.path_normalization import NormalizePath
from service.http.middleware.security_headers import SecurityHeaders
from service.http.middleware.unexpected_failures import UnexpectedFailures
from service.http.middleware.unshared_jobs import UnsharedJobs
from service.http.probes import PROBES
from service.http.problems import render
from service.http.request_id import request_id
from service.http.routers import add_routes
from service.http.routes.docs import docs_router
from service.settings import Settings
from service.telemetry.metrics import Metrics, package_version
from service.telemetry.tracing import Tracing

Application = FastAPI
Router = APIRouter
"""FastAPI's, for parts outside `http`, which do not import it."""

AppLifespan = Callable[[FastAPI], AbstractAsyncContextManager[None]]
"""Starts the service when its block is entered and stops it at its end."""

TITLE = "Pastiche"

FIRST_SENTENCE = re.compile(r"(.+?)\.(?:\s+|$)", re.DOTALL)

KEY_SCHEMES = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "an API key"},
    "header": {"type": "apiKey", "in": "header", "name": "X-API-Key", "description": "an API key"},
}
"""How a key is sent, for the OpenAPI document."""

KEY_NEEDED: list[dict[str, list[str]]] = [{name: []} for name in KEY_SCHEMES]
"""One of these."""

REQUEST_HEADERS = (
    "Authorization",
    "Content-Encoding",
    "Idempotency-Key",
    "If-None-Match",
    "Inference-Header-Content-Length",
    "Prefer",
    "X-API-Key",
    "X-Callback-URL",
    "X-Request-ID",
    "X-Request-Timeout",
    "traceparent",
    "tracestate",
)
"""Request headers that pages of other origins may send (CORS)."""

RESPONSE_HEADERS = (
    "ETag",
    "Inference-Header-Content-Length",
    "Location",
    "Preference-Applied",
    "RateLimit",
    "RateLimit-Policy",
    "Retry-After",
    "Server-Timing",
    "WWW-Authenticate",
    "X-Model",
    "X-Model-Digest",
    "X-Model-Reason",
    "X-Request-ID",
    "traceparent",
)
"""Response headers that they may read."""


def build_application(
    lifespan: AppLifespan,
    routers: Sequence[APIRouter],
    metrics: Metrics,
    settings: Settings,
    access: AccessPolicy,
    new_upload: Callable[[], Upload],
    tracing: Tracing,
) -> Application:
    """The application with these routes, in this order. Its `/docs` needs no network."""
    build = partial(FastAPIOffline, redoc_url=None) if settings.serve_docs else partial(FastAPI, openapi_url=None)
    app = build(
        docs_url=None,
        title=TITLE,
        version=package_version(),
        description="Paints photographs in a style and enlarges them (feed-forward networks, Johnson et al. 2016).",
        lifespan=lifespan,
        redirect_slashes=False,
    )
    app.add_middleware(UnexpectedFailures, respond=PROBLEMS.handle)
    if not settings.jobs_are_shared:
        app.add_middleware(UnsharedJobs, problems=PROBLEMS)
    app.add_middleware(BodyReservation, new_upload=new_upload)
    _add_middleware(app, settings, access, metrics)
    app.add_middleware(AccessLog, metrics=metrics, tracing=tracing, prefix=settings.root_path)
    PROBLEMS.install(app)
    for router in (*([docs_router(TITLE)] if settings.serve_docs else []), *routers):
        _summarize(router)
        add_routes(app, router)
    if access.keys is not None:
        _describe_keys(app, access)
    return app


def build_metrics_application(routers: Sequence[APIRouter]) -> Application:
    """An application with probes and metrics alone: for a port that only the operator reaches."""
    app = FastAPI(openapi_url=None)

    @app.exception_handler(ServiceError)
    def refuse(request: Request, failure: ServiceError) -> Response:
        return render(failure, request_id(request.headers.get("X-Request-ID", "")), "")

    for router in routers:
        add_routes(app, router)
    return app


def _summarize(router: APIRouter) -> None:
    """Sum up each endpoint by the first sentence of its docstring; the framework would take its function's name."""
    for route in router.routes:
        if isinstance(route, APIRoute) and not route.summary and (found := FIRST_SENTENCE.match(route.description)):
            route.summary = " ".join(found[1].split())
            route.description = route.description[found.end() :]


def _how_to_send_a_key(path: str, access: AccessPolicy) -> list[dict[str, list[str]]]:
    """By each way, where the path needs a key; nothing is one of the ways where it may be left out."""
    right = needed_right(path)
    if right is None or path in PROBES:
        return []
    return [{}, *KEY_NEEDED] if right in access.keyless_rights else KEY_NEEDED


def _describe_keys(app: FastAPI, access: AccessPolicy) -> None:
    """Say in the OpenAPI document how keys are sent. The framework would do so by dependencies, which take time."""
    describe = app.openapi

    def openapi() -> dict[str, Any]:
        schema = describe()
        schema.setdefault("components", {})["securitySchemes"] = KEY_SCHEMES
        schema["security"] = KEY_NEEDED
        for path, operations in schema["paths"].items():
            for operation in operations.values():
                operation["security"] = _how_to_send_a_key(path, access)
        return schema

    app.openapi = openapi  # type: ignore[method-assign] # as FastAPI's documentation has it


def _add_middleware(app: FastAPI, settings: Settings, access: AccessPolicy, metrics: Metrics) -> None:
    """From the innermost to the outermost but one, the access log."""
    app.add_middleware(AccessControl, policy=access, problems=PROBLEMS, metrics=metrics)
    if "*" not in settings.hosts:
        app.add_middleware(AllowedHosts, hosts=settings.hosts, problems=PROBLEMS)
    app.add_middleware(NormalizePath)
    app.add_middleware(Forwarded, trusted=settings.forwarded_allow_ips, prefix=settings.root_path)
    if settings.origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.origins,
            allow_methods=("GET", "HEAD", "POST", "PUT", "DELETE"),
            allow_headers=REQUEST_HEADERS,
            expose_headers=RESPONSE_HEADERS,
        )
    app.add_middleware(SecurityHeaders, resource_policy="cross-origin" if settings.origins else "same-site")
