"""The replicas that clients reach: a relay each, which finds the others by Ray."""

import asyncio
from collections.abc import Awaitable
from typing import Any, TypeVar

from prometheus_client import generate_latest
from ray import serve
from ray.exceptions import ObjectLostError, RayActorError
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError, ReplicaUnavailableError
from ray.serve.handle import DeploymentHandle

from service.errors import Overloaded, ReplicaLost
from service.http.relay.exchange import HttpAnswer, HttpCall
from service.http.relay.relay import Application, Relay, without_request_id
from service.ray.device import replica_name
from service.settings import Settings
from service.telemetry import log
from service.telemetry.merging import SCRAPE_SECONDS
from service.telemetry.metrics import Metrics

Result = TypeVar("Result")

OWN_METRICS = (
    "pastiche_relay_retries_total",
    "pastiche_body_bytes",
    "pastiche_bodies_waiting",
    "process_cpu_seconds_total",
    "process_resident_memory_bytes",
    "process_start_time_seconds",
    "process_open_fds",
    "process_max_fds",
)
"""What an ingress counts; all else happens in the replicas with a device."""


class RayReplicas:
    """The replicas of a deployment, as a relay asks them."""

    def __init__(self, devices: DeploymentHandle[Any], ingresses: DeploymentHandle[Any]) -> None:
        """`devices` answer; `ingresses` have metrics of their own."""
        self._devices = devices
        self._ingresses = ingresses

    async def answer(self, key: str, call: HttpCall) -> HttpAnswer:
        """See `Replicas`."""
        try:
            answer: HttpAnswer = await self._devices.options(multiplexed_model_id=key).answer.remote(call)
        except (RayActorError, ReplicaUnavailableError, ObjectLostError) as error:  # or with its answer, already made
            raise ReplicaLost from error
        except (BackPressureError, DeploymentUnavailableError) as error:
            raise Overloaded("every replica has as much as it takes; retry in 1 s", retry_after=1) from error
        return answer

    async def scrape(self, call: HttpCall) -> list[tuple[str, HttpAnswer]]:
        """See `Replicas`."""
        return await _answers_of_all(self._devices, "scrape", call)

    async def expositions(self) -> list[tuple[str, bytes]]:
        """See `Replicas`."""
        return await _answers_of_all(self._ingresses, "metrics")


async def _answers_of_all(deployment: DeploymentHandle[Any], method: str, *arguments: Any) -> list[tuple[str, Any]]:
    """What the replicas of a deployment answer; without those that fail, or take too long."""
    end = asyncio.get_running_loop().time() + SCRAPE_SECONDS
    asked = deployment.broadcast(method, *arguments)
    try:  # not results_async, which gives up on all replicas where one of them does not answer in time
        replicas = await _until(end, asked._fetch_replica_results_async())  # noqa: SLF001
    except (TimeoutError, DeploymentUnavailableError):
        return []
    calls = [_until(end, replica.get_async()) for replica in replicas]  # type: ignore[no-untyped-call]
    answers = await asyncio.gather(*calls, return_exceptions=True)
    return [answer for answer in answers if isinstance(answer, tuple)]


async def _until(end: float, result: Awaitable[Result]) -> Result:
    """A result. Raises TimeoutError where it is not there at that time of the event loop."""
    async with asyncio.timeout_at(end):
        return await result


@serve.ingress()
class Ingress:
    """A relay as Ray Serve's ingress."""

    def __init__(self, devices: DeploymentHandle[Any], settings: dict[str, Any], name: str) -> None:
        """`name`: that of this deployment."""
        self._settings = Settings.model_validate(settings)
        log.configure(self._settings.log_level, self._settings.log_format)
        self._metrics = Metrics()
        self._replicas = RayReplicas(devices, serve.get_deployment_handle(name))

    def __serve_build_asgi_app__(self) -> Application:
        """The application, which Ray calls for each request."""
        shared = bool(self._settings.jobs_url.get_secret_value())
        relay = Relay(self._settings, self._replicas, self._metrics, jobs_are_shared=shared)
        return without_request_id(relay.application())

    async def metrics(self) -> tuple[str, bytes]:
        """The name of this replica, and its metrics in Prometheus' text format."""
        return replica_name(), generate_latest(self._metrics.registry.restricted_registry(OWN_METRICS))
