"""The ASGI application: routes, middleware and error handling."""

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager

from fastapi import APIRouter, Depends, FastAPI
from fastapi_offline import FastAPIOffline

from service.http import problems
from service.http.access_log import AccessLog
from service.http.normalize import NormalizePath
from service.http.query import refuse_unknown_parameters
from service.http.routes.edits import PATH as EDITS
from service.http.routes.edits import openai_error
from service.http.upload import Upload, Uploads
from service.telemetry.metrics import Metrics, package_version

Application = FastAPI
"""FastAPI, for parts outside `http`, which do not import it."""

AppLifespan = Callable[[FastAPI], AbstractAsyncContextManager[None]]
"""Starts the service when its block is entered and stops it at its end."""


def build_application(
    lifespan: AppLifespan, routers: Sequence[APIRouter], metrics: Metrics, new_upload: Callable[[], Upload]
) -> Application:
    """The application with these routes, in this order. Its `/docs` needs no network."""
    app = FastAPIOffline(
        redoc_url=None,
        title="Pastiche",
        version=package_version(),
        description="Paints photographs in a style and enlarges them (feed-forward networks, Johnson et al. 2016).",
        lifespan=lifespan,
        redirect_slashes=False,
        dependencies=[Depends(refuse_unknown_parameters)],
    )
    app.add_middleware(NormalizePath)
    app.add_middleware(Uploads, new_upload=new_upload)
    app.add_middleware(AccessLog, metrics=metrics)
    problems.install(app, {EDITS: openai_error})
    for router in routers:
        app.include_router(router)
    return app
