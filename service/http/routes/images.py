"""`POST /v1/stylize/{style}` and `POST /v1/upscale/{scale}`: an image in, an image out."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from time import monotonic
from typing import Annotated

from fastapi import Query, Request, Response

from service.errors import Overloaded
from service.http.access.pixel_charges import PixelCharges
from service.http.body import read_files, request_body_schema
from service.http.content_negotiation import Accept
from service.http.disconnect import while_connected
from service.http.job_headers import JobHeaders
from service.http.job_status import JobStatus
from service.http.load_shedding.refusal_cache import RefusalCache
from service.http.load_shedding.request_class import ANY_SIZE, RequestClass, classify
from service.http.memoized_parameters import MemoizingRoute
from service.http.problem_responses import problem_responses
from service.http.relay.exchange import was_admitted_before
from service.http.responses import image_response, image_response_schema
from service.http.root_path import route_path
from service.http.routers import new_router
from service.http.routes.jobs import JobRoutes
from service.http.routes.parameters import (
    CallbackHeader,
    IdempotencyKeyHeader,
    PreferHeader,
    ScalePath,
    StylePath,
    TimeoutHeader,
)
from service.models.registry import ModelRegistry
from service.pipeline.coalescing import RequestCoalescer
from service.pipeline.pipeline import ImagePipeline
from service.pipeline.requests import (
    ImageRequest,
    StylizeParameters,
    StylizeRequest,
    UpscaleParameters,
    UpscaleRequest,
)
from service.pipeline.resolve import ResolvedRequest, resolve
from service.pipeline.trace import Trace
from service.settings import Settings

PIXELS_PER_BYTE = 8
"""The most that a file of a photograph has, unless it was compressed hard or shows nearly nothing."""

PROMPT_SHARE = 0.1
"""The share of its timeout within which a request must be decided on for its refusal to hold for others."""


class ImageRoutes:
    """POST /v1/stylize and /v1/upscale. Their refusals are stored for load shedding."""

    def __init__(
        self,
        settings: Settings,
        models: ModelRegistry,
        refusals: RefusalCache,
        pipeline: ImagePipeline,
        coalescer: RequestCoalescer,
        jobs: JobRoutes,
        charges: PixelCharges,
    ) -> None:
        self._settings = settings
        self._models = models
        self._refusals = refusals
        self._pipeline = pipeline
        self._coalescer = coalescer
        self._jobs = jobs
        self._charges = charges
        failures = problem_responses(400, 404, 406, 408, 413, 415, 500, 501, 503, 504, 507)
        self.router = new_router(tags=["images"], responses=failures, route_class=MemoizingRoute)
        accepted = {"model": JobStatus, "description": "The job that `Prefer: respond-async` asked for"}
        for path, endpoint, request in (
            ("/v1/stylize/{style}", self.stylize, StylizeRequest),
            ("/v1/upscale/{scale}", self.upscale, UpscaleRequest),
        ):
            self.router.add_api_route(
                path,
                endpoint,
                methods=["POST"],
                response_class=Response,
                responses={200: image_response_schema(), 202: accepted},
                openapi_extra=request_body_schema(accepts_mask=request.accepts_mask),
            )

    async def stylize(
        self,
        request: Request,
        style: StylePath,
        parameters: Annotated[StylizeParameters, Query()],
        timeout_seconds: TimeoutHeader = None,
        prefer: PreferHeader = None,
        callback_url: CallbackHeader = None,
        idempotency_key: IdempotencyKeyHeader = None,
    ) -> Response:
        """Paint an image in a style or in several, wholly or in part.

        As a form, it may have a mask beside the image.
        """
        accept = Accept.parse(request.headers.getlist("Accept"))
        formats = accept.formats(parameters.format)
        asked = StylizeRequest(style=style, parameters=parameters, formats=formats, timeout=timeout_seconds)
        return await self._answer(request, asked, accept, JobHeaders.parse(prefer, callback_url, idempotency_key))

    async def upscale(
        self,
        request: Request,
        scale: ScalePath,
        parameters: Annotated[UpscaleParameters, Query()],
        timeout_seconds: TimeoutHeader = None,
        prefer: PreferHeader = None,
        callback_url: CallbackHeader = None,
        idempotency_key: IdempotencyKeyHeader = None,
    ) -> Response:
        """Enlarge an image to `scale` times its sides, or to any size below that."""
        accept = Accept.parse(request.headers.getlist("Accept"))
        formats = accept.formats(parameters.format)
        asked = UpscaleRequest(scale=scale, parameters=parameters, formats=formats, timeout=timeout_seconds)
        return await self._answer(request, asked, accept, JobHeaders.parse(prefer, callback_url, idempotency_key))

    async def _answer(self, request: Request, asked: ImageRequest, accept: Accept, job: JobHeaders) -> Response:
        """Refuse before the body is read where possible; read it; then create a job, or run until the client leaves."""
        self._charges.check(request)
        trace: Trace = request.state.trace
        resolved = resolve(asked, self._models, self._settings, admitted_before=was_admitted_before(request))
        trace.model, trace.version = resolved.model.name, resolved.model.manifest.version
        request_class = self._classify(request)
        of_any_size = request_class and request_class._replace(size_class=ANY_SIZE)
        waits = [Overloaded] if job.preferred else []  # a job can wait until there is room
        with suppress(*waits), self._cached_refusals(resolved, of_any_size):
            self._pipeline.check(resolved)
        callback = await self._jobs.callback(job.callback_url, creates_job=job.preferred)
        with trace.stage("read"):
            seconds = min(self._settings.request_timeout, resolved.timeout.seconds)
            limit = self._settings.max_body_bytes
            files = await read_files(request, limit, seconds, accepts_mask=asked.accepts_mask)
        if job.preferred:
            return await self._jobs.accept(request, asked, files, accept, job, callback)
        resolved = replace(resolved, mask=files.mask)
        async with self._charges.charged(request, (resolved, files.image)):
            with self._cached_refusals(resolved, request_class, len(files.image)):
                image = await while_connected(request.receive, self._coalescer.run(resolved, files.image, trace))
        return await image_response(image, trace, as_json=accept.prefers_json)

    def _classify(self, request: Request) -> RequestClass | None:
        settings = self._settings
        if not settings.load_shedding:
            return None
        scope = {**request.scope, "path": route_path(request.scope)}
        return classify(scope, settings.request_timeout, settings.max_request_timeout)

    @contextmanager
    def _cached_refusals(
        self, resolved: ResolvedRequest, request_class: RequestClass | None, length: int | None = None
    ) -> Iterator[None]:
        """Let a refusal inside the block hold for other requests of the class.

        Unless it is due to this request alone: to an animation, to an image that is larger than its file size suggests,
        or to an upload that took most of the time.
        """
        try:
            yield
        except Overloaded as refusal:
            timeout = resolved.timeout
            prompt = monotonic() - timeout.arrived <= PROMPT_SHARE * timeout.seconds
            typical = length is None or (refusal.frames == 1 and refusal.pixels <= PIXELS_PER_BYTE * length)
            if request_class is not None and prompt and typical:
                self._refusals.store(refusal, request_class)
            raise
