"""`POST /v1/estimate`: what a request would cost, and whether it would be accepted, without its image."""

from functools import partial
from typing import Annotated, Any, Literal

from fastapi import Body, Request
from pydantic import BaseModel, ConfigDict, Field

from service.errors import ServiceError
from service.http.content_negotiation import requested_formats
from service.http.json_body import JsonRoute
from service.http.problem_responses import problem_responses
from service.http.problems import Problem
from service.http.root_path import root_path
from service.http.routers import new_router
from service.imaging.codecs import ImageFormat, ImageHeader
from service.models.registry import ModelRegistry
from service.pipeline.pipeline import Forecast, ImagePipeline
from service.pipeline.requests import (
    ImageRequest,
    StylizeParameters,
    StylizeRequest,
    UpscaleParameters,
    UpscaleRequest,
)
from service.pipeline.resolve import ResolvedRequest, resolve
from service.pipeline.upscale import Scale
from service.settings import Settings

MOST = 2**31 - 1
"""Of what is counted: more than any image has, so that the settings of the service decide."""


class _ImageDescription(BaseModel):
    """What must be known of the image, and when the answer is wanted."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    width: int = Field(ge=1, le=MOST, description="of the image, upright", examples=[4000])
    height: int = Field(ge=1, le=MOST, description="of the image, upright", examples=[3000])
    frames: int = Field(1, ge=1, le=MOST, description="of the image, where it moves")
    depth: Literal[8, 16] = Field(8, description="bits a channel of the image")
    timeout: float | None = Field(None, gt=0, description="seconds, as in X-Request-Timeout")


class StylizeEstimate(_ImageDescription):
    """A request to `POST /v1/stylize/{style}`."""

    task: Literal["stylize"]
    style: str = Field(description="as in its path", examples=["great-wave"])
    options: StylizeParameters = Field(StylizeParameters(), description="the query of the request")

    def request(self) -> ImageRequest:
        """The request that is estimated. Raises NotAcceptable for an unknown format."""
        formats = requested_formats(self.options.format)
        return StylizeRequest(style=self.style, parameters=self.options, formats=formats, timeout=self.timeout)


class UpscaleEstimate(_ImageDescription):
    """A request to `POST /v1/upscale/{scale}`."""

    task: Literal["upscale"]
    scale: Scale = Field(description="as in its path", examples=[4])
    options: UpscaleParameters = Field(UpscaleParameters(), description="the query of the request")

    def request(self) -> ImageRequest:
        """The request that is estimated. Raises NotAcceptable for an unknown format."""
        formats = requested_formats(self.options.format)
        return UpscaleRequest(scale=self.scale, parameters=self.options, formats=formats, timeout=self.timeout)


EstimateRequest = Annotated[
    StylizeEstimate | UpscaleEstimate,
    Body(
        discriminator="task",
        openapi_examples={
            "stylize": {
                "value": {"task": "stylize", "style": "great-wave", "width": 4000, "height": 3000}
                | {"options": {"size": 1024, "output_size": 4000}}
            },
            "upscale": {
                "value": {"task": "upscale", "scale": 4, "width": 800, "height": 600, "options": {"width": 2400}}
            },
        },
    ),
]


class Sides(BaseModel):
    """The size of an answer, in pixels."""

    width: int
    height: int


class Estimate(BaseModel):
    """What the request would get at this moment."""

    accepted: bool = Field(description="whether it would be admitted now")
    problem: Problem | None = Field(description="why not: what the request itself would be answered")
    models: list[str] = Field(description="name@version of each network that would take part")
    damaged_models: list[str] = Field([], description="those instead, where the image turns out damaged (model=auto)")
    output: Sides | None = Field(description="size of the answer")
    pixels: int | None = Field(description="of everything made on the way, which the limits of admission count")
    inferences: int | None = Field(description="frames times networks, which the limits of admission count, too")
    tiles: int | None = Field(description="units of work")
    queue_seconds: float | None = Field(description="predicted wait for what is admitted and more urgent")
    infer_seconds: float | None = Field(description="predicted time on the device, without decoding and encoding")


class EstimateRoutes:
    """POST /v1/estimate."""

    def __init__(self, settings: Settings, models: ModelRegistry, pipeline: ImagePipeline) -> None:
        self._settings = settings
        self._models = models
        self._pipeline = pipeline
        self.router = new_router(
            tags=["images"], responses=problem_responses(400, 408, 413, 415, 503), route_class=JsonRoute
        )
        self.router.add_api_route("/v1/estimate", self.estimate, methods=["POST"])

    async def estimate(self, request: Request, body: EstimateRequest) -> Estimate:
        """Predict the time and the size of an answer, by the rules by which the request itself would be admitted."""
        problem = partial(Problem.of, instance=request.state.trace.request_id, prefix=root_path(request.scope))
        try:
            resolved = resolve(body.request(), self._models, self._settings)
            forecast = self._pipeline.forecast(resolved, _header(body))
        except ServiceError as refusal:
            return _refused(problem(refusal))
        return _estimate(resolved, forecast, problem(forecast.refusal) if forecast.refusal else None)


def _header(image: _ImageDescription) -> ImageHeader:
    kind = ImageFormat.JPEG if image.frames == 1 else ImageFormat.WEBP
    return ImageHeader(kind, image.width, image.height, False, image.frames, image.depth)


def _refused(problem: Problem) -> Estimate:
    names = "output", "pixels", "inferences", "tiles", "queue_seconds", "infer_seconds"
    unknown: dict[str, Any] = dict.fromkeys(names)
    return Estimate(accepted=False, problem=problem, models=[], **unknown)


def _estimate(resolved: ResolvedRequest, forecast: Forecast, problem: Problem | None) -> Estimate:
    answer, operation = forecast.plan.answer, resolved.operation
    return Estimate(
        accepted=forecast.refusal is None,
        problem=problem,
        models=[model.label for model in forecast.plan.models],
        damaged_models=[model.label for model in operation.damaged.models] if operation.damaged else [],
        output=Sides(width=answer.width, height=answer.height),
        pixels=forecast.pixels,
        inferences=forecast.inferences,
        tiles=forecast.tiles,
        queue_seconds=_to_microseconds(forecast.queue_seconds),
        infer_seconds=_to_microseconds(forecast.infer_seconds),
    )


def _to_microseconds(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 6)
