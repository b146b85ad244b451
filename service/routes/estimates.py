"""`POST /v1/estimate`: what an image would cost, and whether it would be accepted, without the image."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Body, Request
from pydantic import BaseModel, ConfigDict, Field

from service.briefs import StylizeBrief, StylizeParameters, UpscaleBrief, UpscaleParameters
from service.desk import Desk
from service.errors import Problem, ServiceError
from service.orders import Order
from service.photographs import Header, ImageFormat
from service.routes.problems import problems
from service.served_models import LARGEST_SCALE
from service.studio import Forecast, Studio

LONGEST_SIDE = 2**31 - 1


class _Image(BaseModel):
    """What must be known of an image, and when the answer is wanted."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    width: int = Field(ge=1, le=LONGEST_SIDE, description="of the image, upright", examples=[4000])
    height: int = Field(ge=1, le=LONGEST_SIDE, description="of the image, upright", examples=[3000])
    frames: int = Field(1, ge=1, le=1000, description="of the image, where it moves")
    depth: Literal[8, 16] = Field(8, description="bits a channel of the image")
    timeout: float | None = Field(None, gt=0, description="seconds, as in X-Request-Timeout")


class StylizeEstimate(_Image):
    """A request to `POST /v1/stylize/{style}`."""

    task: Literal["stylize"]
    style: str = Field(description="as in its path", examples=["great-wave"])
    options: StylizeParameters = Field(StylizeParameters(), description="the query of the request")

    @property
    def brief(self) -> StylizeBrief:
        """The request."""
        return StylizeBrief(style=self.style, within=self.timeout, parameters=self.options)


class UpscaleEstimate(_Image):
    """A request to `POST /v1/upscale/{scale}`."""

    task: Literal["upscale"]
    scale: int = Field(ge=2, le=LARGEST_SCALE, description="as in its path", examples=[4])
    options: UpscaleParameters = Field(UpscaleParameters(), description="the query of the request")

    @property
    def brief(self) -> UpscaleBrief:
        """The request."""
        return UpscaleBrief(scale=self.scale, within=self.timeout, parameters=self.options)


Question = Annotated[
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
    """Of an answer, in pixels."""

    width: int
    height: int


class Estimate(BaseModel):
    """What the request would get at this moment."""

    accepted: bool = Field(description="whether it would be admitted now")
    problem: Problem | None = Field(description="why not: what the request itself would be answered")
    models: list[str] = Field(description="name@version of each network that would take part")
    output: Sides | None = Field(description="size of the answer")
    pixels: int | None = Field(description="of everything made on the way, which the limits of admission count")
    tiles: int | None = Field(description="units of work")
    queue_seconds: float | None = Field(description="predicted wait for what is admitted and more urgent")
    infer_seconds: float | None = Field(description="predicted time on the device, without decoding and encoding")


class Estimates:
    """Questions to orders without images, and forecasts to answers."""

    def __init__(self, desk: Desk, studio: Studio) -> None:
        self._desk = desk
        self._studio = studio
        self.router = APIRouter(tags=["images"], responses=problems(400, 422))
        self.router.add_api_route("/v1/estimate", self.estimate, methods=["POST"])

    async def estimate(self, request: Request, question: Question) -> Estimate:
        """Predict the time and the size of an answer, by the rules by which the request itself would be admitted."""
        instance = request.state.trace.request_id
        try:
            order = self._desk.order(question.brief)
            forecast = self._studio.forecast(order, _header(question))
        except ServiceError as refusal:
            return _refused(refusal, instance)
        return _estimate(order, forecast, instance)


def _header(question: _Image) -> Header:
    kind = ImageFormat.JPEG if question.frames == 1 else ImageFormat.WEBP
    return Header(kind, question.width, question.height, False, question.frames, question.depth)


def _refused(refusal: ServiceError, instance: str) -> Estimate:
    unknown: dict[str, Any] = dict.fromkeys(("output", "pixels", "tiles", "queue_seconds", "infer_seconds"))
    return Estimate(accepted=False, problem=refusal.problem(instance), models=[], **unknown)


def _estimate(order: Order, forecast: Forecast, instance: str) -> Estimate:
    answer = forecast.plan.answer
    return Estimate(
        accepted=forecast.refusal is None,
        problem=forecast.refusal.problem(instance) if forecast.refusal else None,
        models=[model.label for model in order.treatment.models],
        output=Sides(width=answer.width, height=answer.height),
        pixels=forecast.pixels,
        tiles=forecast.tiles,
        queue_seconds=_to_microseconds(forecast.queue_seconds),
        infer_seconds=_to_microseconds(forecast.infer_seconds),
    )


def _to_microseconds(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 6)
