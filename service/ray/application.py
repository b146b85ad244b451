"""The composition root of the service under Ray Serve: `serve run docker/ray/serve.yaml`."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt
from ray import serve
from ray.serve import Application
from ray.serve.config import AutoscalingConfig, AutoscalingPolicy, RequestRouterConfig

from service.ray.device import Device
from service.ray.ingress import Ingress
from service.ray.routing import ModelRouter
from service.ray.scaling import BacklogPolicy
from service.settings import Settings

INGRESS = "ingress"
DEVICE = "device"

HEALTH_SECONDS = 5.0
"""Between two checks of a replica's health."""


class Options(BaseModel):
    """What the section `args` of the configuration file says."""

    model_config = ConfigDict(extra="forbid")

    settings: dict[str, Any] = Field(default_factory=dict, description="settings of the service, by their names")
    min_replicas: PositiveInt = Field(1, description="least replicas with a device")
    max_replicas: PositiveInt = Field(1, description="most replicas with a device")
    target_seconds: PositiveFloat = Field(2.0, description="queued work of each replica beyond which more are started")
    upscale_delay_seconds: float = Field(10.0, ge=0, description="seconds for which they must be needed before that")
    downscale_delay_seconds: float = Field(300.0, ge=0, description="seconds for which they must not, before they end")
    spill_seconds: PositiveFloat = Field(
        0.5, description="queued work beyond which requests for the models of a replica go to others"
    )
    max_ongoing_requests: PositiveInt = Field(128, description="requests that one replica is given at a time")
    max_queued_requests: PositiveInt = Field(256, description="requests that wait in an ingress for a replica")
    device_resources: dict[str, Any] = Field(
        default_factory=lambda: {"num_cpus": 1}, description="what Ray reserves for a replica with a device"
    )
    ingress_replicas: PositiveInt = Field(1, description="replicas that take requests, at most one on each node")
    ingress_resources: dict[str, Any] = Field(
        default_factory=lambda: {"num_cpus": 0.1}, description="what Ray reserves for one of those"
    )
    stats_seconds: PositiveFloat = Field(0.5, description="between two reports of queued work")
    release: str = Field("", description="any text; a new one replaces all replicas, one after the other")


def build(options: Options) -> Application:
    """The application. Raises ValidationError where the settings are wrong."""
    return application(options, Device)


def application(options: Options, replica: type[Device]) -> Application:
    """The application whose replicas with a device are of that class. Raises as `build`."""
    checked = Settings.model_validate(options.settings)
    grace = checked.shutdown_delay_seconds + checked.drain_seconds
    device = serve.deployment(
        name=DEVICE,
        ray_actor_options=options.device_resources,
        autoscaling_config=_autoscaling(options),
        request_router_config=_routing(options),
        max_ongoing_requests=options.max_ongoing_requests,
        max_queued_requests=options.max_queued_requests,
        graceful_shutdown_timeout_s=grace,
        graceful_shutdown_wait_loop_s=0.5,
        health_check_period_s=HEALTH_SECONDS,
        health_check_timeout_s=HEALTH_SECONDS,
    )(replica)
    ingress = serve.deployment(
        name=INGRESS,
        num_replicas=options.ingress_replicas,
        max_replicas_per_node=1,
        ray_actor_options=options.ingress_resources,
        max_ongoing_requests=checked.max_connections,
        graceful_shutdown_timeout_s=grace,
        graceful_shutdown_wait_loop_s=0.5,
    )(Ingress)
    return ingress.bind(device.bind(options.settings, options.release), options.settings, INGRESS)


def _autoscaling(options: Options) -> AutoscalingConfig:
    return AutoscalingConfig(
        min_replicas=options.min_replicas,
        max_replicas=options.max_replicas,
        upscale_delay_s=options.upscale_delay_seconds,
        downscale_delay_s=options.downscale_delay_seconds,
        metrics_interval_s=options.stats_seconds,
        look_back_period_s=4 * options.stats_seconds,
        policy=AutoscalingPolicy(  # type: ignore[no-untyped-call] # Ray's own constructor
            policy_function=f"{BacklogPolicy.__module__}:{BacklogPolicy.__name__}",
            policy_kwargs={"target_seconds": options.target_seconds},
        ),
    )


def _routing(options: Options) -> RequestRouterConfig:
    chosen: dict[str, Any] = {
        "request_router_class": f"{ModelRouter.__module__}.{ModelRouter.__name__}",
        "request_router_kwargs": {"spill_seconds": options.spill_seconds},
        "request_routing_stats_period_s": options.stats_seconds,
    }
    return RequestRouterConfig(**chosen)
