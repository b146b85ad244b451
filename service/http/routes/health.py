"""`/livez`, `/readyz` and `/metrics`, for orchestrators and Prometheus. They are never queued or refused."""

from typing import Any, Literal, Protocol

from fastapi import Request, Response
from fastapi.responses import JSONResponse
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, choose_encoder
from pydantic import BaseModel, Field

from service.engine.runner_pool import RunnerPool
from service.http.routers import new_router
from service.http.siblings import Siblings
from service.jobs.manager import JobManager
from service.models.registry import ModelRegistry
from service.models.store_watcher import StoreWatcher
from service.settings import Settings
from service.telemetry.metrics import Metrics


class Health(BaseModel):
    """The answer of a probe; `problems` is empty if `status` is ok."""

    status: Literal["ok", "failing"]
    problems: list[str] = Field(description="why the status is failing")


class Ready(Health):
    """The answer of the readiness probe."""

    models: list[str] = Field(description="name@version of what is loaded, proven on this device and warmed up")
    failed: list[str] = Field(description="name@version of what was promoted but could not be loaded")
    warnings: list[str] = Field(description="what should be mended, though requests are answered")


class ServiceState(Protocol):
    """What the probes must know of the service as a whole."""

    @property
    def running(self) -> bool:
        """Whether all background tasks are running."""

    @property
    def stopping(self) -> bool:
        """Whether requests should go elsewhere."""


class HealthRoutes:
    """The probes, which look at the parts of the service."""

    def __init__(
        self,
        settings: Settings,
        models: ModelRegistry,
        watcher: StoreWatcher,
        pool: RunnerPool,
        jobs: JobManager,
        state: ServiceState,
        metrics: Metrics,
        siblings: Siblings | None = None,
    ) -> None:
        """`siblings`: the processes whose metrics are those of the service, where there are several."""
        self._settings = settings
        self._models = models
        self._watcher = watcher
        self._pool = pool
        self._jobs = jobs
        self._state = state
        self._metrics = metrics
        self._siblings = siblings
        self.router = new_router(tags=["health"], refusals=(422,))
        failing: dict[int | str, dict[str, Any]] = {503: {"description": "Failing; the body says why"}}
        self.router.add_api_route("/livez", self.live, response_model=Health, responses=failing)
        self.router.add_api_route("/readyz", self.ready, response_model=Ready, responses=failing)
        self.metrics_router = new_router(tags=["health"])
        self.metrics_router.add_api_route(
            "/metrics", self.scrape, response_class=Response, responses={200: _metrics_schema()}
        )

    async def live(self) -> Response:
        """Whether the process works; where it fails, only a restart helps."""
        problems = self._fatal_problems()
        return _response(Health(status="failing" if problems else "ok", problems=problems))

    async def ready(self) -> Response:
        """Whether requests should be sent here."""
        problems = self._fatal_problems() + self._temporary_problems()
        return _response(
            Ready(
                status="failing" if problems else "ok",
                problems=problems,
                models=[model.label for model in self._models.all()],
                failed=[failure.version.label for failure in self._models.failures.all()],
                warnings=[*self._pool.warnings, *self._watcher.warnings(), *self._jobs.warnings],
            )
        )

    async def scrape(self, request: Request) -> Response:
        """Every metric in Prometheus' text format, or in OpenMetrics where that is accepted.

        OpenMetrics has exemplars: ids of requests that took as long as their bucket says. Where several processes serve
        the port, it is the text format, and every sample has the label `process`.
        """
        if self._siblings is not None:
            return Response(await self._siblings.scrape(self._metrics), media_type=CONTENT_TYPE_PLAIN_0_0_4)
        encode, content_type = choose_encoder(request.headers.get("Accept", ""))
        return Response(encode(self._metrics.registry), media_type=content_type)

    def _fatal_problems(self) -> list[str]:
        age = self._pool.operation_age()
        faults = {
            "a background task has ended": not self._state.running,
            f"one device operation has taken {age:.0f} s": age > self._settings.stall_seconds,
            self._pool.lost or "": self._pool.lost is not None,
        }
        return [fault for fault, present in faults.items() if present]

    def _temporary_problems(self) -> list[str]:
        faults = {
            "the service is stopping": self._state.stopping,
            self._models.problem or "": self._models.problem is not None,
            "no model is served": not self._models.all(),
        }
        return [fault for fault, present in faults.items() if present]


def _response(health: Health) -> JSONResponse:
    headers = {"Cache-Control": "no-store"}
    return JSONResponse(health.model_dump(), 200 if health.status == "ok" else 503, headers)


def _metrics_schema() -> dict[str, Any]:
    text = {"schema": {"type": "string"}}
    return {"description": "The metrics", "content": {"text/plain": text, "application/openmetrics-text": text}}
