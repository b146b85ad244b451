"""`/livez`, `/readyz` and `/metrics`: what an orchestrator and Prometheus ask. Never queued, never limited."""

from typing import Any, Literal

from fastapi import APIRouter, Response
from fastapi.responses import JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from pydantic import BaseModel, Field

from service.lifespan import Lifespan
from service.metrics import Metrics
from service.runner import Runner
from service.served_models import ServedModels
from service.settings import Settings


class Health(BaseModel):
    """The answer of a probe; `problems` is empty exactly if `status` is ok."""

    status: Literal["ok", "failing"]
    problems: list[str] = Field(description="why the status is failing")


class Ready(Health):
    """Which models are ready beside what stands in the way."""

    models: list[str] = Field(description="name@version of what is loaded, proven on this device and warmed up")
    failed: list[str] = Field(description="name@version of what was promoted but could not be loaded")


class Probes:
    """What tells whether the service works, by its parts and not by its own say-so."""

    def __init__(
        self,
        settings: Settings,
        models: ServedModels,
        runner: Runner,
        lifespan: Lifespan,
        metrics: Metrics,
    ) -> None:
        self._settings = settings
        self._models = models
        self._runner = runner
        self._lifespan = lifespan
        self._metrics = metrics
        self.router = APIRouter(tags=["health"])
        failing: dict[int | str, dict[str, Any]] = {503: {"description": "Failing; the body says why"}}
        self.router.add_api_route("/livez", self.live, response_model=Health, responses=failing)
        self.router.add_api_route("/readyz", self.ready, response_model=Ready, responses=failing)
        self.router.add_api_route("/metrics", self.scrape, response_class=Response, responses={200: _exposition()})

    async def live(self) -> Response:
        """Whether the process works; where it fails, only a restart helps."""
        problems = self._fatal()
        return _answer(Health(status="failing" if problems else "ok", problems=problems))

    async def ready(self) -> Response:
        """Whether requests should be sent here."""
        problems = self._fatal() + self._passing()
        return _answer(
            Ready(
                status="failing" if problems else "ok",
                problems=problems,
                models=[model.label for model in self._models.all()],
                failed=[failure.version.label for failure in self._models.failures()],
            )
        )

    async def scrape(self) -> Response:
        """Every metric in Prometheus' text format."""
        return Response(generate_latest(self._metrics.registry), media_type=CONTENT_TYPE_LATEST)

    def _fatal(self) -> list[str]:
        age = self._runner.operation_age()
        faults = {
            "a background task has ended": not self._lifespan.running,
            f"one device operation has taken {age:.0f} s": age > self._settings.stall_seconds,
            self._runner.lost or "": self._runner.lost is not None,
        }
        return [fault for fault, present in faults.items() if present]

    def _passing(self) -> list[str]:
        faults = {
            "the service is stopping": self._lifespan.stopping,
            self._models.trouble or "": self._models.trouble is not None,
            "no model is served": not self._models.all(),
        }
        return [fault for fault, present in faults.items() if present]


def _answer(health: Health) -> JSONResponse:
    headers = {"Cache-Control": "no-store"}
    return JSONResponse(health.model_dump(), 200 if health.status == "ok" else 503, headers)


def _exposition() -> dict[str, Any]:
    return {"description": "The metrics", "content": {"text/plain": {"schema": {"type": "string"}}}}
