"""`POST /v1/images/edits`: OpenAI's call, with its answers and errors, so that its clients can be pointed here."""

import asyncio
import base64
import time
from collections.abc import Sequence
from typing import Any, Literal, Self

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from service.errors import InvalidRequest, MalformedBody, ServiceError, UnknownModel
from service.http.access.pixel_charges import PixelCharges
from service.http.body import is_form, read_form
from service.http.content_negotiation import JSON, Accept, requested_formats
from service.http.disconnect import while_connected
from service.http.job_status import JobStatus
from service.http.multipart import MASK, MultipartForm
from service.http.prefer import Preference
from service.http.problems import failure_headers
from service.http.routes.jobs import JobRoutes
from service.http.routes.parameters import CallbackHeader, PreferHeader, TimeoutHeader
from service.http.routes.problems import titles_of
from service.imaging.codecs import DEFAULT_QUALITY, EXTENSIONS, ImageHeader
from service.imaging.masks import MaskMeaning
from service.imaging.sizes import Size
from service.models.registry import ModelRegistry
from service.models.served_model import ServedModel
from service.pipeline.coalescing import RequestCoalescer
from service.pipeline.pipeline import ImagePipeline
from service.pipeline.requests import (
    ImageRequest,
    InputFiles,
    StylizeParameters,
    StylizeRequest,
    UpscaleParameters,
    UpscaleRequest,
)
from service.pipeline.resolve import ResolvedRequest, resolve
from service.pipeline.result import FinishedImage
from service.pipeline.trace import Trace
from service.settings import Settings

PATH = "/v1/images/edits"

IMAGES = ("image", "image[]")
IGNORED = ("prompt", "user", "quality", "input_fidelity", "moderation", "safety_identifier")
"""Fields that other models need, and a network with one style, or one scale, has no use for."""


class Edit(BaseModel):
    """The fields of the form, besides the image, that have a meaning here."""

    model_config = ConfigDict(extra="forbid")

    model: str = Field(
        description="a name of GET /v1/models: a style, or a network that enlarges; or styles, mixed by weight; or a "
        "name that the setting openai_models gives to one of them",
        examples=["great-wave", "great-wave:0.7,the-scream:0.3"],
    )
    n: Literal["1"] = Field("1", description="a network gives one picture of an image")
    response_format: Literal["b64_json"] = Field("b64_json", description="nothing is kept here that a url could name")
    output_format: Literal["png", "jpeg", "webp"] = "png"
    output_compression: int = Field(DEFAULT_QUALITY, ge=0, le=100, description="the quality of a JPEG or WebP")
    size: str = Field(
        "auto",
        pattern=r"^(auto|[1-9]\d{0,8}x[1-9]\d{0,8})$",
        description="the size of the answer is that of the image, upright, or scale times it; auto, or that size",
        examples=["auto", "1024x768"],
    )
    background: Literal["auto"] = Field("auto", description="transparency is kept where the format has it")
    stream: Literal["false"] = "false"
    partial_images: Literal["0"] = "0"

    @field_validator("output_format", mode="before")
    @classmethod
    def _named(cls, value: object) -> object:
        return EXTENSIONS.get(value.lower(), value.lower()) if isinstance(value, str) else value

    @classmethod
    def parse(cls, parts: Sequence[tuple[str, bytes]]) -> Self:
        """Of the parts of a form; clients send an empty one for a field that they leave out. Raises InvalidRequest."""
        texts = {name: content.decode("utf-8", "replace") for name, content in parts if name in cls.model_fields}
        try:
            return cls.model_validate({name: text for name, text in texts.items() if text.strip()})
        except ValidationError as error:
            fault = error.errors()[0]
            name = str(fault["loc"][0])
            meaning = cls.model_fields[name].description
            detail = f"{name}: {fault['msg']}" + (f" ({meaning})" if meaning else "")
            raise InvalidRequest(detail, param=name) from error

    @property
    def query(self) -> dict[str, Any]:
        """The query parameters that mean the same."""
        return {"format": self.output_format, "quality": max(1, self.output_compression)}


class EditedImage(BaseModel):
    """An entry of `data`."""

    b64_json: str = Field(description="the file, base64")


class EditResponse(BaseModel):
    """OpenAI's ImagesResponse, as far as it applies."""

    created: int = Field(description="seconds since 1970")
    data: list[EditedImage]
    output_format: str
    size: str = Field(description="width×height in pixels", examples=["1024x768"])

    @classmethod
    def of(cls, image: FinishedImage) -> "EditResponse":
        """A finished image in OpenAI's words."""
        edited = EditedImage(b64_json=base64.b64encode(image.content).decode())
        size = f"{image.result.width}x{image.result.height}"
        return cls(created=int(time.time()), data=[edited], output_format=image.result.format, size=size)


class OpenAIFault(BaseModel):
    """What OpenAI says of a failure."""

    message: str
    type: str = Field(description="invalid_request_error, or server_error")
    param: str | None
    code: str = Field(description="the kind of problem, as at /problems")


class OpenAIError(BaseModel):
    """The envelope of every failure of this endpoint."""

    error: OpenAIFault


class EditRoutes:
    """POST /v1/images/edits."""

    def __init__(
        self,
        settings: Settings,
        models: ModelRegistry,
        pipeline: ImagePipeline,
        coalescer: RequestCoalescer,
        jobs: JobRoutes,
        charges: PixelCharges,
    ) -> None:
        self._settings = settings
        self._models = models
        self._pipeline = pipeline
        self._coalescer = coalescer
        self._jobs = jobs
        self._charges = charges
        self.router = APIRouter(tags=["images"])
        failures = (400, 401, 403, 404, 406, 408, 413, 415, 422, 429, 500, 503, 504)
        self.router.add_api_route(
            PATH,
            self.edit,
            methods=["POST"],
            response_model=EditResponse,
            responses={
                202: {"model": JobStatus, "description": "The job that `Prefer: respond-async` asked for"},
                **{status: {"model": OpenAIError, "description": titles_of(status)} for status in failures},
            },
            openapi_extra={"requestBody": _request_body_schema()},
        )

    async def edit(
        self,
        request: Request,
        timeout_seconds: TimeoutHeader = None,
        prefer: PreferHeader = None,
        callback_url: CallbackHeader = None,
    ) -> Response:
        """OpenAI's call: the model is a style or a network that enlarges, the prompt is ignored.

        A job, where that is preferred, is one of ours.
        """
        self._charges.check(request)
        trace: Trace = request.state.trace
        respond_async = Preference.parse(prefer).respond_async
        callback = await self._jobs.callback(callback_url, creates_job=respond_async)
        with trace.stage("read"):
            parts = await self._read_parts(request)
        files, edit = _files(parts), Edit.parse(parts)
        asked = self._image_request(edit, timeout_seconds)
        if files.mask is not None:
            asked = _with_mask(asked)
        resolved = resolve(asked, self._models, self._settings, files.mask)
        if edit.size != "auto":
            _check_size(edit.size, resolved, await self._pipeline.inspect(files.image))
        if respond_async:
            accept = Accept.parse(request.headers.getlist("Accept"))
            return await self._jobs.accept(request, asked, files, accept, Preference(respond_async=True), callback)
        async with self._charges.charged(request, resolved, files.image):
            finished = await while_connected(request.receive, self._coalescer.run(resolved, files.image, trace))
        headers = {"Server-Timing": trace.server_timing(), "X-Model": finished.result.label}
        content = await asyncio.to_thread(lambda: EditResponse.of(finished).model_dump_json())
        return Response(content, media_type=JSON, headers=headers)

    async def _read_parts(self, request: Request) -> list[tuple[str, bytes]]:
        if not is_form(request):
            raise MalformedBody("the body must be multipart/form-data with the parts image and model")
        form = MultipartForm(request.headers["Content-Type"], (*IMAGES, MASK, *IGNORED, *Edit.model_fields))
        await read_form(request, form, self._settings.max_body_bytes, self._settings.request_timeout)
        return form.parts()

    def _image_request(self, edit: Edit, timeout: float | None) -> ImageRequest:
        name = self._settings.openai_names.get(edit.model, edit.model)
        model = None if ":" in name or "," in name else self._find(name)
        formats = requested_formats(edit.output_format)
        if model is None or model.manifest.task == "style":
            stylize = StylizeParameters.model_validate(edit.query)
            return StylizeRequest(style=name, parameters=stylize, formats=formats, timeout=timeout)
        upscale = UpscaleParameters.model_validate(edit.query | {"model": model.name})
        return UpscaleRequest(scale=model.scale, parameters=upscale, formats=formats, timeout=timeout)

    def _find(self, name: str) -> ServedModel:
        try:
            return self._models.find(name)
        except UnknownModel as failure:
            raise failure.copy(f"{failure.detail}; the setting openai_models gives them further names") from failure


def openai_error(failure: ServiceError, instance: str, _prefix: str = "") -> Response:
    """A failure as OpenAI's error object; a `Renderer`."""
    kind = "invalid_request_error" if failure.status < 500 else "server_error"
    param = failure.members.get("param")
    fault = OpenAIFault(
        message=failure.detail, type=kind, param=str(param) if param is not None else None, code=failure.kind
    )
    headers = failure_headers(failure, instance)
    return JSONResponse(OpenAIError(error=fault).model_dump(), failure.status, headers)


def _files(parts: Sequence[tuple[str, bytes]]) -> InputFiles:
    """The image, and the mask where there is one. Raises InvalidRequest."""
    images = [content for name, content in parts if name in IMAGES]
    masks = [content for name, content in parts if name == MASK and content]
    if len(images) != 1:
        raise InvalidRequest(f"image: one image is edited at a time; the form has {len(images)}", param="image")
    if len(masks) > 1:
        raise InvalidRequest(f"mask: an image has one mask; the form has {len(masks)}", param="mask")
    return InputFiles(images[0], masks[0] if masks else None)


def _with_mask(asked: ImageRequest) -> ImageRequest:
    """The request for an image that comes with a mask. Raises InvalidRequest."""
    if not asked.accepts_mask:
        raise InvalidRequest("mask: an image is enlarged as a whole; leave the mask out, or name a style", param="mask")
    return asked.model_copy(update={"mask_meaning": MaskMeaning.TRANSPARENT})


def _check_size(size: str, resolved: ResolvedRequest, header: ImageHeader) -> None:
    """Raise InvalidRequest where the answer has another size."""
    answer = resolved.operation.plan(Size(*header.upright_size)).answer
    own = f"{answer.width}x{answer.height}"
    if size != own:
        raise InvalidRequest(f"size: the answer for this image and model is {own}; say that, or auto", param="size")


def _request_body_schema() -> dict[str, Any]:
    """The form for the OpenAPI document."""
    schema = Edit.model_json_schema()
    image = {"type": "string", "format": "binary", "description": "the file; `image[]` is the same"}
    mask = image | {"description": "a PNG of the image's size, transparent where it is to be painted"}
    ignored = {name: {"type": "string", "description": "accepted and ignored"} for name in IGNORED}
    properties = {"image": image, "mask": mask, **schema["properties"], **ignored}
    form = {"type": "object", "properties": properties, "required": ["image", "model"]}
    return {"required": True, "content": {"multipart/form-data": {"schema": form}}}
