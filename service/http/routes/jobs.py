"""`/v1/jobs/{id}`: asynchronous jobs, their progress, their results."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import Annotated, Any

from fastapi import Path, Query, Request, Response
from fastapi.responses import JSONResponse
from pydantic import Field, ValidationError
from pydantic.json_schema import SkipJsonSchema

from service.errors import (
    IdempotencyKeyReused,
    InvalidRequest,
    JobConflict,
    JobFailed,
    JobsUnavailable,
    JobUnfinished,
    Overloaded,
    ServiceError,
    UnknownJob,
)
from service.http.access.pixel_charges import PixelCharges
from service.http.access.principal import Principal
from service.http.body import read_files, request_body_schema
from service.http.content_negotiation import Accept
from service.http.disconnect import while_connected
from service.http.idempotency_key import job_id_of
from service.http.job_headers import JobHeaders
from service.http.job_status import JobStatus
from service.http.problem_responses import problem_responses
from service.http.responses import entity_tag, image_response, image_response_schema, matches_etag, not_modified
from service.http.root_path import root_path
from service.http.routers import new_router
from service.http.routes.parameters import CallbackHeader, IfNoneMatchHeader, TimeoutHeader
from service.http.webhooks.sender import CALLBACK_HEADER, WebhookSender
from service.imaging.codecs import ImageFormat
from service.jobs.job import Job, owned_id, public_id
from service.jobs.manager import JobManager
from service.jobs.record import Callback
from service.models.registry import ModelRegistry
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
from service.pipeline.upscale import Scale
from service.settings import Settings

POLL_SECONDS = 1
"""After how long a client may ask again for the state of a job."""

WORTH_A_RETRY = frozenset({408, 429, 503})
"""Statuses after which clients send a request again."""

Responses = dict[int | str, dict[str, Any]]
"""What an endpoint answers, for the OpenAPI document."""

JobId = Annotated[
    str,
    Path(
        pattern=r"^[A-Za-z0-9_-][A-Za-z0-9._-]{0,63}$",
        description="1 to 64 letters, digits, dots, hyphens and underscores, no dot at the beginning",
        examples=["holiday-0042"],
    ),
]


class JobParameters(StylizeParameters, UpscaleParameters):
    """The query of `PUT /v1/jobs/{id}`: that of the image call, and which call it is."""

    style: str | SkipJsonSchema[None] = Field(None, description="the style to paint in; or", examples=["great-wave"])
    scale: Scale | SkipJsonSchema[None] = Field(None, description="how many times the side grows", examples=[4])

    def request(self, formats: tuple[ImageFormat, ...], timeout: float | None) -> ImageRequest:
        """The request. Raises InvalidRequest where it is not exactly one of the two, or has options of the other."""
        given = self.model_dump(include=self.model_fields_set - {"style", "scale"})
        try:
            match self.style, self.scale:
                case str(style), None:
                    stylize = StylizeParameters.model_validate(given)
                    return StylizeRequest(style=style, parameters=stylize, formats=formats, timeout=timeout)
                case None, int() | float() as scale:
                    upscale = UpscaleParameters.model_validate(given)
                    return UpscaleRequest(scale=scale, parameters=upscale, formats=formats, timeout=timeout)
        except ValidationError as error:
            names = ", ".join(f"query.{fault['loc'][0]}" for fault in error.errors())
            raise InvalidRequest(f"{names}: not for a job with {'style' if self.style else 'scale'}") from error
        raise InvalidRequest("query.style, query.scale: a job needs one of them, and not both")


class JobRoutes:
    """GET, PUT and DELETE /v1/jobs/{id}, GET /v1/jobs/{id}/result; and the jobs that image calls ask for."""

    def __init__(
        self,
        settings: Settings,
        models: ModelRegistry,
        pipeline: ImagePipeline,
        job_manager: JobManager,
        charges: PixelCharges,
        webhooks: WebhookSender | None,
    ) -> None:
        """`webhooks`: None where the settings have none."""
        self._settings = settings
        self._models = models
        self._pipeline = pipeline
        self._job_manager = job_manager
        self._charges = charges
        self._webhooks = webhooks
        self.router = new_router(prefix="/v1/jobs", tags=["jobs"])
        self._add_job_endpoints("/{id}")
        self._add_result_endpoint("/{id}/result")

    async def status(self, request: Request, id: JobId) -> JobStatus:  # noqa: A002 # the parameter's name is public
        """Status of a job."""
        return self._status(request, await self._job_manager.find(_owned(request, id)))

    async def put(
        self,
        request: Request,
        id: JobId,  # noqa: A002
        parameters: Annotated[JobParameters, Query()],
        timeout_seconds: TimeoutHeader = None,
        callback_url: CallbackHeader = None,
    ) -> Response:
        """Begin a job under an id of the client's own. Doing so again with the same image and query changes nothing."""
        self._charges.check(request)
        formats = Accept.parse(request.headers.getlist("Accept")).formats(parameters.format)
        asked = parameters.request(formats, timeout_seconds)
        with suppress(Overloaded):  # a job can wait until there is room
            self._pipeline.check(resolve(asked, self._models, self._settings))
        callback = await self.callback(callback_url)
        trace: Trace = request.state.trace
        with trace.stage("read"):
            limit, seconds = self._settings.max_body_bytes, self._settings.request_timeout
            files = await read_files(request, limit, seconds, accepts_mask=asked.accepts_mask)
        job, new = await self._put(request, id, asked, files, callback)
        return self._status_response(request, job, 201 if new else 200)

    async def remove(self, request: Request, id: JobId) -> Response:  # noqa: A002
        """Cancel a job, which frees the device at once, and forget its result."""
        await self._job_manager.remove(_owned(request, id))
        return Response(status_code=204)

    async def result(
        self,
        request: Request,
        id: JobId,  # noqa: A002
        if_none_match: IfNoneMatchHeader = None,
    ) -> Response:
        """The image; the problem of a job that failed, as the call itself would have answered it.

        Where that would have said that another try may succeed, it is 424 with that problem: no other GET will.
        """
        job = await self._job_manager.find(_owned(request, id))
        as_json = Accept.parse(request.headers.getlist("Accept")).prefers_json
        return await self._result_response(request, job, if_none_match, as_json=as_json)

    async def callback(self, url: str | None, *, creates_job: bool = True) -> Callback | None:
        """What X-Callback-URL asks for. Raises InvalidRequest where no webhook would be sent there, or of nothing."""
        if url is None:
            return None
        if not creates_job:
            raise InvalidRequest(f"header.{CALLBACK_HEADER}: only jobs have callbacks; add `Prefer: respond-async`")
        if self._webhooks is None:
            raise InvalidRequest(f"header.{CALLBACK_HEADER}: this service sends no webhooks: it has no webhook_secret")
        await self._webhooks.check(url)
        return Callback(url=url)

    async def accept(
        self,
        request: Request,
        asked: ImageRequest,
        files: InputFiles,
        accept: Accept,
        headers: JobHeaders,
        callback: Callback | None,
    ) -> Response:
        """202 and where the job is; or the image, where the client prefers to wait and it is ready in that time.

        Raises IdempotencyKeyReused where another request had the key.
        """
        job_id = job_id_of(_principal(request).job_owner.name, headers.key)
        try:
            job, _ = await self._put(request, job_id, asked, files, callback)
        except JobConflict as error:
            raise IdempotencyKeyReused("another request had this key; give each request a key of its own") from error
        if headers.wait:
            job = await self._wait(request, job, min(headers.wait, self._settings.request_timeout))
        if headers.wait and job.outcome is not None:
            response = await self._result_response(request, job, None, as_json=accept.prefers_json)
        else:
            response = self._status_response(request, job, 202)
        response.headers["Preference-Applied"] = "respond-async" if response.status_code == 202 else "wait"
        return response

    async def _wait(self, request: Request, job: Job, seconds: float) -> Job:
        """An accepted job when it has ended, or as it is after so many seconds, or as it was if that cannot be told."""
        with suppress(UnknownJob, JobsUnavailable):
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    return await while_connected(request.receive, self._job_manager.wait(job.record.id))
            return await self._job_manager.find(job.record.id)
        return job

    def _add_job_endpoints(self, path: str) -> None:
        add, known = self.router.add_api_route, problem_responses(404, 501, 503)
        begun: Responses = {
            200: {"description": "The job was there already"},
            201: {"model": JobStatus, "description": "The job was created"},
            **problem_responses(400, 404, 406, 408, 409, 413, 415, 500, 501, 503),
        }
        body = request_body_schema(accepts_mask=True)
        status, begin, cancel = "Status of a job", "Begin a job", "Cancel a job"
        add(path, self.status, summary=status, responses=known)
        add(
            path,
            self.put,
            summary=begin,
            methods=["PUT"],
            response_model=JobStatus,
            responses=begun,
            openapi_extra=body,
        )
        add(path, self.remove, summary=cancel, methods=["DELETE"], status_code=204, responses=known)

    def _add_result_endpoint(self, path: str) -> None:
        responses: Responses = {
            200: image_response_schema(),
            304: {"description": "The client has it"},
            **problem_responses(400, 404, 409, 415, 424, 500, 501, 503, 504, 507),
        }
        add, summary = self.router.add_api_route, "The image of a job"
        add(path, self.result, summary=summary, response_class=Response, responses=responses)

    async def _put(
        self, request: Request, job_id: str, asked: ImageRequest, files: InputFiles, callback: Callback | None
    ) -> tuple[Job, bool]:
        """The job of that id of this client, and whether it is new: only then it is charged."""
        resolved = await self._refuse_early(asked, files)
        async with self._charges.charged(request, (resolved, files.image)) as refund:
            trace, owner = request.state.trace, _principal(request).job_owner
            job, new = await self._job_manager.put(_owned(request, job_id), asked, files, trace, callback, owner)
            if not new:
                refund()
        return job, new

    async def _refuse_early(self, asked: ImageRequest, files: InputFiles) -> ResolvedRequest:
        """Raise now what would make the job fail later, as far as that is known without decoding the image."""
        resolved = resolve(asked, self._models, self._settings, files.mask)
        refusal = self._pipeline.forecast(resolved, await self._pipeline.inspect(files.image)).refusal
        if refusal is not None and not isinstance(refusal, Overloaded):
            raise refusal
        return resolved

    def _status_response(self, request: Request, job: Job, status: int) -> Response:
        location = f"{root_path(request.scope)}/v1/jobs/{public_id(job.record.id)}"
        headers = {"Location": location, "Cache-Control": "no-store"}
        headers |= {"Retry-After": str(POLL_SECONDS)} if job.outcome is None else {}
        return JSONResponse(self._status(request, job).model_dump(mode="json"), status, headers)

    async def _result_response(
        self, request: Request, job: Job, if_none_match: Sequence[str] | None, *, as_json: bool
    ) -> Response:
        outcome = job.outcome
        if outcome is None:
            detail = f"job {public_id(job.record.id)!r} is {job.state}; poll once a second"
            raise JobUnfinished(detail, retry_after=POLL_SECONDS)
        if outcome.result is None:
            raise self._failure(request, job)
        if matches_etag(if_none_match, entity_tag(outcome.result, as_json=as_json)):
            return not_modified(outcome.result, as_json=as_json)
        content = await self._job_manager.result(job)
        return await image_response(FinishedImage(content, outcome.result), request.state.trace, as_json=as_json)

    def _failure(self, request: Request, job: Job) -> ServiceError:
        """What is answered instead of the result of a job that failed: nothing that asks for another GET."""
        assert job.outcome is not None
        assert job.outcome.failure is not None
        failure = job.outcome.failure.error()
        if failure.status not in WORTH_A_RETRY:
            return failure
        problem = self._status(request, job).problem
        assert problem is not None
        detail = f"job {public_id(job.record.id)!r} has failed, and stays so; begin another one: {failure.detail}"
        return JobFailed(detail, problem=problem.model_dump())

    def _status(self, request: Request, job: Job) -> JobStatus:
        return JobStatus.of(job, self._settings.job_seconds, root_path(request.scope))


def _principal(request: Request) -> Principal:
    principal: Principal = request.state.principal
    return principal


def _owned(request: Request, job_id: str) -> str:
    """The id under which the job of this principal is kept. Jobs of that id of holders of other keys are others."""
    return owned_id(_principal(request).name, job_id)
