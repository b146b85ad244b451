"""`/v2`: the Open Inference Protocol over HTTP, as the clients of KServe and Triton speak it."""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from typing import Annotated, Any

from fastapi import Header, Path, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ValidationError

from service.errors import UnknownVersion
from service.http.body import read_body, read_plain
from service.http.compatible_api_calls import ImageCalls
from service.http.content_negotiation import JSON, requested_formats
from service.http.json_body import JSON_LIMIT, JSON_SECONDS
from service.http.message_validation import invalid_request
from service.http.open_inference.answer_body import build_answer, check_json_size
from service.http.open_inference.messages import (
    FILES,
    IMAGE,
    PIXELS,
    IndexedModel,
    IndexQuestion,
    InferenceError,
    Live,
    ModelMetadata,
    ModelReady,
    Ready,
    ServerMetadata,
)
from service.http.open_inference.request_body import HEADER_LENGTH, InferenceCall, parse_call
from service.http.problem_responses import titles_of
from service.http.relay.exchange import was_admitted_before
from service.http.routers import REFUSALS, new_router
from service.http.routes.health import HealthRoutes
from service.http.routes.parameters import ModelPath, TimeoutHeader
from service.imaging.codecs import ImageFormat
from service.models.registry import ModelRegistry
from service.models.served_model import ServedModel
from service.pipeline.pipeline import ImagePipeline
from service.pipeline.requests_by_model import request_by_model
from service.pipeline.resolve import ResolvedRequest, resolve
from service.pipeline.result import FinishedImage
from service.pipeline.trace import Trace
from service.settings import Settings

PATH = "/v2"

MODEL = f"{PATH}/models/{{name}}"
VERSION = f"{MODEL}/versions/{{version}}"

BINARY = "application/octet-stream"

VersionPath = Annotated[str, Path(description="the version of the model that is served; no other one is")]

HeaderLength = Annotated[
    str | None,
    Header(alias=HEADER_LENGTH, description="bytes of the body that are JSON; values of the tensor follow"),
]


class OpenInferenceRoutes:
    """Health, metadata, and inferences of models that get and give one tensor, `image`."""

    def __init__(
        self,
        settings: Settings,
        models: ModelRegistry,
        pipeline: ImagePipeline,
        calls: ImageCalls,
        health: HealthRoutes,
    ) -> None:
        self._settings = settings
        self._models = models
        self._pipeline = pipeline
        self._calls = calls
        self._health = health
        self.router = new_router(tags=["open inference"], refusals=())
        self._add(PATH, self.server)
        add_probe = self.router.add_api_route
        add_probe(f"{PATH}/health/live", self.live, response_model=Live, responses=_failing(Live))
        add_probe(f"{PATH}/health/ready", self.ready, response_model=Ready, responses=_failing(Ready))
        question = {"content": {JSON: {"schema": IndexQuestion.model_json_schema()}}}
        body: dict[str, Any] = {"methods": ["POST"], "openapi_extra": {"requestBody": question}}
        self._add(f"{PATH}/repository/index", self.index, 408, 413, 415, 503, **body)
        for path in (MODEL, VERSION):
            self._add(path, self.model, 404, 503)
            self._add(f"{path}/ready", self.model_ready, 404, 503)
            statuses = (400, 404, 406, 408, 413, 415, 500, 503, 504)
            self._add(f"{path}/infer", self.infer, *statuses, methods=["POST"], response_class=Response, **_bodies())

    async def server(self) -> ServerMetadata:
        """What the server is."""
        return ServerMetadata()

    async def live(self) -> Response:
        """Whether the process works, as `/livez` says it."""
        status = (await self._health.live()).status_code
        return _probe(Live(live=status == 200), status)

    async def ready(self) -> Response:
        """Whether requests should be sent here, as `/readyz` says it."""
        status = (await self._health.ready()).status_code
        return _probe(Ready(ready=status == 200), status)

    async def index(self, request: Request) -> list[IndexedModel]:
        """The models that are served, and those that could not be loaded, unless `ready` ones alone are asked for."""
        question = await read_plain(request, JSON_LIMIT, JSON_SECONDS)
        ready_alone = bool(question) and IndexQuestion.parse(question).ready
        ready = [
            IndexedModel(name=model.name, version=str(model.manifest.version), state="READY")
            for model in self._models.all()
        ]
        return ready if ready_alone else [*ready, *self._unavailable({model.name for model in ready})]

    async def model(self, name: ModelPath, version: VersionPath | None = None) -> ModelMetadata:
        """What a model is, and what its tensors are."""
        return ModelMetadata.of(self._find(name, version))

    async def model_ready(self, name: ModelPath, version: VersionPath | None = None) -> ModelReady:
        """Whether a model is served."""
        return ModelReady(name=self._find(name, version).name, ready=True)

    async def infer(
        self,
        request: Request,
        name: ModelPath,
        version: VersionPath | None = None,
        header_length: HeaderLength = None,
        timeout_seconds: TimeoutHeader = None,
    ) -> Response:
        """Paint or enlarge a batch of images: pixels (UINT8) or files (BYTES).

        `name` may also be a mixture of styles.
        """
        self._calls.check(request)
        if version is not None:
            self._find(name, version)
        admitted_before = was_admitted_before(request)
        self._pipeline.check(self._resolve(name, {}, (ImageFormat.PNG,), timeout_seconds, admitted_before))
        trace: Trace = request.state.trace
        with trace.stage("read"):
            body = await read_body(request, self._settings.max_body_bytes, self._settings.request_timeout)
            call = await parse_call(body, header_length, self._pipeline)
        resolved = self._resolve_call(name, call, timeout_seconds, admitted_before)
        if call.has_pixels and not call.wants_binary:
            check_json_size(len(call.images) * resolved.operation.plan(call.sizes[0]).answer.pixels)
        images = await self._calls.run_all(request, [(resolved, image) for image in call.images])
        return await _response(call, name, images, trace)

    def _unavailable(self, served: Collection[str]) -> list[IndexedModel]:
        """Those that could not be loaded, where no other version of them is served."""
        return [
            IndexedModel(name=f.version.name, version=str(f.version.number), state="UNAVAILABLE", reason=f.reason)
            for f in self._models.failures.all()
            if f.version.name not in served
        ]

    def _find(self, name: str, version: str | None) -> ServedModel:
        """Raises UnknownModel, ModelUnavailable or UnknownVersion."""
        model = self._models.find(name)
        if version not in (None, str(model.manifest.version)):
            raise UnknownVersion(f"{name} is served in version {model.manifest.version}, and in no other")
        return model

    def _resolve_call(
        self, name: str, call: InferenceCall, timeout: float | None, admitted_before: bool
    ) -> ResolvedRequest:
        """Raises as `_resolve`, and NotAcceptable."""
        named = call.options.get("format")
        formats = (ImageFormat.TIFF,) if call.has_pixels else requested_formats(None if named is None else str(named))
        resolved = self._resolve(name, call.options, formats, call.timeout or timeout, admitted_before)
        return resolved.without_compression() if call.has_pixels else resolved

    def _resolve(
        self,
        name: str,
        options: Mapping[str, Any],
        formats: tuple[ImageFormat, ...],
        timeout: float | None,
        admitted_before: bool,
    ) -> ResolvedRequest:
        """Raises InvalidRequest, UnknownModel or ModelUnavailable."""
        try:
            asked = request_by_model(self._models, name, options, formats, timeout)
        except ValidationError as error:
            raise invalid_request(error, "parameters") from error
        return resolve(asked, self._models, self._settings, admitted_before=admitted_before)

    def _add(self, path: str, endpoint: Any, *failures: int, **options: Any) -> None:
        responses = _failures(*REFUSALS, *failures) | options.pop("responses", {})
        self.router.add_api_route(path, endpoint, responses=responses, **options)


async def _response(call: InferenceCall, name: str, images: list[FinishedImage], trace: Trace) -> Response:
    answer = await asyncio.to_thread(build_answer, call, name, images)
    headers = {"Server-Timing": trace.server_timing(), "X-Model": images[0].result.label}
    if not call.wants_binary:
        return Response(answer.content, media_type=JSON, headers=headers)
    return Response(answer.content, media_type=BINARY, headers=headers | {HEADER_LENGTH: str(answer.json_length)})


def _probe(content: BaseModel, status: int) -> JSONResponse:
    return JSONResponse(content.model_dump(), status, {"Cache-Control": "no-store"})


def _failures(*statuses: int) -> dict[int | str, dict[str, Any]]:
    return {status: {"model": InferenceError, "description": titles_of(status)} for status in statuses}


def _failing(model: type[BaseModel]) -> dict[int | str, dict[str, Any]]:
    return {503: {"model": model, "description": "Failing"}, **_failures(422)}


def _bodies() -> dict[str, Any]:
    """The bodies of a request and of its answer for the OpenAPI document."""
    numbers = {"type": "array", "items": {"type": "integer"}}
    tensor = {
        "name": {"const": IMAGE},
        "datatype": {"enum": [PIXELS, FILES]},
        "shape": numbers,
        "parameters": {"type": "object", "description": "binary_data_size, where the values follow the JSON"},
        "data": {"type": "array", "description": "numbers, nested or not; or files as base64"},
    }
    output = {"name": {"const": IMAGE}, "parameters": {"type": "object", "description": "binary_data: true or false"}}
    options = {"type": "object", "description": "options of the model, timeout in µs, binary_data_output"}
    message = _object(
        required=["inputs"],
        id={"type": "string"},
        parameters=options,
        inputs={
            "type": "array",
            "items": _object(["name", "datatype", "shape"], **tensor),
            "minItems": 1,
            "maxItems": 1,
        },
        outputs={"type": "array", "items": _object(["name"], **output)},
    )
    binary = {"schema": {"type": "string", "format": "binary"}}
    content = {JSON: {"schema": message}, BINARY: binary}
    answer = {JSON: {"schema": {"type": "object"}}, BINARY: binary}
    return {
        "responses": {200: {"description": "The images", "content": answer}},
        "openapi_extra": {"requestBody": {"required": True, "content": content}},
    }


def _object(required: Sequence[str], **properties: Any) -> dict[str, Any]:
    return {"type": "object", "required": list(required), "properties": properties}
