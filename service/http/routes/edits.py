"""`POST /v1/images/edits`: OpenAI's call, with its answers and errors, so that its clients can be pointed here."""

import asyncio

from fastapi import Request, Response

from service.errors import InvalidRequest, MalformedBody, UnknownModel
from service.http.body import is_form, read_form
from service.http.compatible_api_calls import ImageCalls
from service.http.content_negotiation import JSON, Accept, requested_formats
from service.http.job_headers import JobHeaders
from service.http.job_status import JobStatus
from service.http.multipart import MASK, MultipartForm
from service.http.openai.edit_answer import EditResponse, OpenAIError
from service.http.openai.edit_form import IGNORED, IMAGES, Edit, edited_files, form_schema
from service.http.problem_responses import titles_of
from service.http.relay.exchange import was_admitted_before
from service.http.routers import new_router
from service.http.routes.jobs import JobRoutes
from service.http.routes.parameters import CallbackHeader, IdempotencyKeyHeader, PreferHeader, TimeoutHeader
from service.imaging.codecs import ImageHeader
from service.imaging.masks import MaskMeaning
from service.imaging.sizes import Size
from service.models.registry import ModelRegistry
from service.pipeline.pipeline import ImagePipeline
from service.pipeline.requests import ImageRequest
from service.pipeline.requests_by_model import request_by_model
from service.pipeline.resolve import ResolvedRequest, resolve
from service.pipeline.trace import Trace
from service.settings import Settings

PATH = "/v1/images/edits"

MASKED_BY_ITSELF = "dall-e-2"
"""The model of OpenAI's that, without a mask, edits what is transparent of the image."""


class EditRoutes:
    """POST /v1/images/edits."""

    def __init__(
        self,
        settings: Settings,
        models: ModelRegistry,
        pipeline: ImagePipeline,
        calls: ImageCalls,
        jobs: JobRoutes,
    ) -> None:
        self._settings = settings
        self._models = models
        self._pipeline = pipeline
        self._calls = calls
        self._jobs = jobs
        self.router = new_router(tags=["images"])
        failures = (400, 401, 403, 404, 406, 408, 413, 415, 422, 429, 500, 501, 503, 504, 507)
        self.router.add_api_route(
            PATH,
            self.edit,
            methods=["POST"],
            response_model=EditResponse,
            responses={
                202: {"model": JobStatus, "description": "The job that `Prefer: respond-async` asked for"},
                **{status: {"model": OpenAIError, "description": titles_of(status)} for status in failures},
            },
            openapi_extra={"requestBody": form_schema()},
        )

    async def edit(
        self,
        request: Request,
        timeout_seconds: TimeoutHeader = None,
        prefer: PreferHeader = None,
        callback_url: CallbackHeader = None,
        idempotency_key: IdempotencyKeyHeader = None,
    ) -> Response:
        """OpenAI's call: the model is a style or a network that enlarges, the prompt is ignored.

        A job, where that is preferred, is one of ours.
        """
        self._calls.check(request)
        trace: Trace = request.state.trace
        job = JobHeaders.parse(prefer, callback_url, idempotency_key).without_wait()
        callback = await self._jobs.callback(job.callback_url, creates_job=job.preferred)
        with trace.stage("read"):
            parts = await self._read_parts(request)
        files, edit = edited_files(parts), Edit.parse(parts)
        asked = self._image_request(edit, timeout_seconds)
        if files.mask is not None:
            asked = _with_mask(asked)
        elif edit.model == MASKED_BY_ITSELF and asked.accepts_mask:
            asked = asked.model_copy(update={"mask_meaning": MaskMeaning.OWN})
        admitted_before = was_admitted_before(request)
        resolved = resolve(asked, self._models, self._settings, files.mask, admitted_before=admitted_before)
        if edit.size != "auto":
            _check_size(edit.size, resolved, await self._pipeline.inspect(files.image))
        if job.preferred:
            accept = Accept.parse(request.headers.getlist("Accept"))
            return await self._jobs.accept(request, asked, files, accept, job, callback)
        finished = await self._calls.run(request, resolved, files.image)
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
        try:
            return request_by_model(self._models, name, edit.query, requested_formats(edit.output_format), timeout)
        except UnknownModel as failure:
            raise failure.copy(f"{failure.detail}; the setting openai_models gives them further names") from failure


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
