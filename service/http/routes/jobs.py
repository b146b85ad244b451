"""`/v1/jobs/{id}`: asynchronous jobs, their progress, their results."""

import asyncio
import uuid
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Annotated, Literal, Self

from fastapi import APIRouter, Path, Query, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field, ValidationError
from pydantic.json_schema import SkipJsonSchema

from service.errors import InvalidRequest, JobUnfinished, Overloaded
from service.http.accept import Accept
from service.http.access.key_ring import Client
from service.http.access.pixel_charges import PixelCharges
from service.http.body import read_files, request_body_schema
from service.http.disconnect import while_connected
from service.http.prefer import Preference
from service.http.problems import Problem
from service.http.responses import image_response, image_response_schema, matches_etag, not_modified
from service.http.root_path import root_path
from service.http.routes.parameters import IfNoneMatchHeader, TimeoutHeader
from service.http.routes.problems import problem_responses
from service.imaging.codecs import ImageFormat, inspect
from service.jobs.job import Job, JobState, owned_id, public_id
from service.jobs.queue import JobQueue
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
from service.pipeline.result import FinishedImage, Result
from service.pipeline.trace import Trace
from service.pipeline.upscale import Scale
from service.settings import Settings

POLL_SECONDS = 1
"""After how long a client may ask again for the state of a job."""

JobId = Annotated[
    str,
    Path(
        pattern=r"^[A-Za-z0-9_-][A-Za-z0-9._-]{0,63}$",
        description="1 to 64 letters, digits, dots, hyphens and underscores, no dot at the beginning",
        examples=["holiday-0042"],
    ),
]


class Progress(BaseModel):
    """How far a job is; tiles are known once it has been admitted."""

    tiles: int
    done: int


class JobStatus(BaseModel):
    """The state of a job."""

    id: str = Field(examples=["holiday-0042"])
    state: JobState
    task: Literal["stylize", "upscale"]
    created: datetime
    started: datetime | None = None
    finished: datetime | None = None
    expires: datetime | None = Field(
        None, description="until when the result is kept; room for others may need it sooner"
    )
    progress: Progress
    seconds: dict[str, float] = Field(description="spent in each stage so far")
    result: Result | None = Field(None, description="of a job that succeeded; GET …/result has the image")
    problem: Problem | None = Field(None, description="of a job that failed")

    @classmethod
    def of(cls, job: Job, kept_seconds: float, prefix: str = "") -> Self:
        """The public part of a job, whose result is kept for so long; `prefix` is that of all paths."""
        record, outcome = job.record, job.outcome
        failure = outcome.failure.error() if outcome and outcome.failure else None
        return cls(
            id=public_id(record.id),
            state=job.state,
            task=record.request.task,
            created=record.created,
            started=job.started,
            finished=outcome.finished if outcome else None,
            expires=outcome.finished + timedelta(seconds=kept_seconds) if outcome else None,
            progress=Progress(tiles=job.tiles, done=job.tiles_done),
            seconds=outcome.result.seconds if outcome and outcome.result else job.trace.durations,
            result=outcome.result if outcome else None,
            problem=Problem.of(failure, record.request_id, prefix) if failure else None,
        )


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
        queue: JobQueue,
        charges: PixelCharges,
    ) -> None:
        self._settings = settings
        self._models = models
        self._pipeline = pipeline
        self._queue = queue
        self._charges = charges
        self.router = APIRouter(prefix="/v1/jobs", tags=["jobs"])
        add, known = self.router.add_api_route, problem_responses(404, 422, 503)
        add("/{id}", self.status, summary="Status of a job", response_model=JobStatus, responses=known)
        add(
            "/{id}",
            self.put,
            methods=["PUT"],
            summary="Begin a job",
            response_model=JobStatus,
            responses={
                200: {"description": "The job was there already"},
                201: {"model": JobStatus, "description": "The job was created"},
                **problem_responses(400, 404, 406, 408, 409, 413, 415, 422, 500, 503),
            },
            openapi_extra=request_body_schema(accepts_mask=True),
        )
        add(
            "/{id}",
            self.remove,
            summary="Cancel a job",
            methods=["DELETE"],
            status_code=204,
            response_class=Response,
            responses=known,
        )
        add(
            "/{id}/result",
            self.result,
            summary="The image of a job",
            response_class=Response,
            responses={
                200: image_response_schema(),
                304: {"description": "The client has it"},
                **problem_responses(400, 404, 409, 415, 422, 500, 503, 504, 507),
            },
        )

    async def status(self, request: Request, id: JobId) -> JobStatus:  # noqa: A002 # the parameter's name is public
        """Status of a job."""
        return self._status(request, self._queue.find(_owned(request, id)))

    async def put(
        self,
        request: Request,
        id: JobId,  # noqa: A002
        parameters: Annotated[JobParameters, Query()],
        timeout_seconds: TimeoutHeader = None,
    ) -> Response:
        """Begin a job under an id of the client's own. Doing so again with the same image and query changes nothing."""
        self._charges.check(request)
        formats = Accept.parse(request.headers.getlist("Accept")).formats(parameters.format)
        asked = parameters.request(formats, timeout_seconds)
        with suppress(Overloaded):  # a job can wait until there is room
            self._pipeline.check(resolve(asked, self._models, self._settings))
        trace: Trace = request.state.trace
        with trace.stage("read"):
            limit, seconds = self._settings.max_body_bytes, self._settings.request_timeout
            files = await read_files(request, limit, seconds, accepts_mask=asked.accepts_mask)
        job, new = await self._put(request, id, asked, files)
        return self._status_response(request, job, 201 if new else 200)

    async def remove(self, request: Request, id: JobId) -> Response:  # noqa: A002
        """Cancel a job, which frees the device at once, and forget its result."""
        await self._queue.remove(_owned(request, id))
        return Response(status_code=204)

    async def result(
        self,
        request: Request,
        id: JobId,  # noqa: A002
        if_none_match: IfNoneMatchHeader = None,
    ) -> Response:
        """The image; the problem of a job that failed, as the call itself would have answered it."""
        return await self._result_response(request, self._queue.find(_owned(request, id)), if_none_match)

    async def accept(
        self, request: Request, asked: ImageRequest, files: InputFiles, preference: Preference
    ) -> Response:
        """202 and where the job is; or the image, where the client prefers to wait and it is ready in that time."""
        job, _ = await self._put(request, uuid.uuid4().hex, asked, files)
        with suppress(TimeoutError):
            async with asyncio.timeout(min(preference.wait, self._settings.request_timeout)):
                await while_connected(request.receive, job.ended.wait())
        if preference.wait and job.outcome is not None:
            response = await self._result_response(request, job, None)
        else:
            response = self._status_response(request, job, 202)
        response.headers["Preference-Applied"] = "respond-async" if response.status_code == 202 else "wait"
        return response

    async def _put(self, request: Request, job_id: str, asked: ImageRequest, files: InputFiles) -> tuple[Job, bool]:
        """The job of that id of this client, and whether it is new: only then it is charged."""
        resolved = self._refuse_early(asked, files)
        async with self._charges.charged(request, resolved, files.image) as refund:
            job, new = await self._queue.put(_owned(request, job_id), asked, files, request.state.trace)
            if not new:
                refund()
        return job, new

    def _refuse_early(self, asked: ImageRequest, files: InputFiles) -> ResolvedRequest:
        """Raise now what would make the job fail later, as far as that is known without decoding the image."""
        resolved = resolve(asked, self._models, self._settings, files.mask)
        refusal = self._pipeline.forecast(resolved, inspect(files.image)).refusal
        if refusal is not None and not isinstance(refusal, Overloaded):
            raise refusal
        return resolved

    def _status_response(self, request: Request, job: Job, status: int) -> Response:
        location = f"{root_path(request.scope)}/v1/jobs/{public_id(job.record.id)}"
        headers = {"Location": location, "Cache-Control": "no-store"}
        headers |= {"Retry-After": str(POLL_SECONDS)} if job.outcome is None else {}
        return JSONResponse(self._status(request, job).model_dump(mode="json"), status, headers)

    async def _result_response(self, request: Request, job: Job, if_none_match: Sequence[str] | None) -> Response:
        outcome = job.outcome
        if outcome is None:
            detail = f"job {public_id(job.record.id)!r} is {job.state}; poll once a second"
            raise JobUnfinished(detail, retry_after=POLL_SECONDS)
        if outcome.result is None:
            assert outcome.failure is not None
            raise outcome.failure.error()
        if matches_etag(if_none_match, outcome.result.etag):
            return not_modified(request, outcome.result)
        content = await self._queue.result(job)
        return await image_response(request, FinishedImage(content, outcome.result))

    def _status(self, request: Request, job: Job) -> JobStatus:
        return JobStatus.of(job, self._settings.job_seconds, root_path(request.scope))


def _owned(request: Request, job_id: str) -> str:
    """The id under which the job of this client is kept. Other clients' jobs of that id are others."""
    client: Client = request.state.client
    return owned_id(client.name, job_id)
