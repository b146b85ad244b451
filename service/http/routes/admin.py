"""`/v1/admin`: which version of a model is served. For API keys with the right `admin` only (`AccessControl`)."""

import logging
from typing import Self

from fastapi import Request
from pydantic import BaseModel, ConfigDict, Field

from service.http.access.principal import Principal
from service.http.json_body import JsonRoute
from service.http.problem_responses import problem_responses
from service.http.routers import new_router
from service.http.routes.models import LoadFailureInfo
from service.http.routes.parameters import ModelPath
from service.models.admin import ModelAdmin
from service.models.registry import ModelRegistry
from service.models.served_model import ServedModel

logger = logging.getLogger(__name__)


class Promotion(BaseModel):
    """Which version is to be served."""

    model_config = ConfigDict(extra="forbid")

    version: int = Field(ge=1, le=2**31 - 1, examples=[2])


class Served(BaseModel):
    """The version that answers requests from now on."""

    name: str
    version: int
    digest: str

    @classmethod
    def of(cls, model: ServedModel) -> Self:
        """The version that is served of a model."""
        return cls(name=model.name, version=model.manifest.version, digest=model.manifest.digest)


class Reloaded(BaseModel):
    """What is served after the stores were read."""

    models: list[str] = Field(description="name@version")
    failed: dict[str, LoadFailureInfo] = Field(description="the promoted versions that are not served, by name")


class AdminRoutes:
    """POST /v1/admin/models/{name}/promote and /rollback, and /v1/admin/reload."""

    def __init__(self, model_admin: ModelAdmin, models: ModelRegistry) -> None:
        self._model_admin = model_admin
        self._models = models
        self.router = new_router(prefix="/v1/admin", tags=["admin"], route_class=JsonRoute)
        changed = problem_responses(400, 404, 408, 409, 413, 415, 503)
        self.router.add_api_route("/models/{name}/promote", self.promote, methods=["POST"], responses=changed)
        self.router.add_api_route("/models/{name}/rollback", self.rollback, methods=["POST"], responses=changed)
        reloaded = problem_responses(404, 408, 413, 415, 503)
        self.router.add_api_route("/reload", self.reload, methods=["POST"], responses=reloaded)

    async def promote(self, request: Request, name: ModelPath, body: Promotion) -> Served:
        """Serve a version of a model. The answer comes when it is served; one that cannot be is not promoted."""
        model = await self._model_admin.promote(name, body.version)
        _log(request, "promoted", model.label)
        return Served.of(model)

    async def rollback(self, request: Request, name: ModelPath) -> Served:
        """Serve the version before the current one."""
        model = await self._model_admin.rollback(name)
        _log(request, "rolled back to", model.label)
        return Served.of(model)

    async def reload(self, request: Request) -> Reloaded:
        """Read the stores now, and try again what could not be loaded."""
        await self._model_admin.reload()
        labels = [model.label for model in self._models.all()]
        _log(request, "reloaded", f"{len(labels)} models")
        failures = {failure.version.name: LoadFailureInfo.of(failure) for failure in self._models.failures.all()}
        return Reloaded(models=labels, failed={name: info for name, info in failures.items() if info is not None})


def _log(request: Request, what: str, which: str) -> None:
    principal: Principal = request.state.principal
    logger.info("%s %s by the key of %s (request %s)", what, which, principal.name, request.state.trace.request_id)
