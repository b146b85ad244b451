"""`/v1/jobs/{id}`: work that nobody waits for on the line, its progress, its result."""

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

from service.body import Body, described, read_body, while_connected
from service.briefs import StylizeBrief, StylizeParameters, UpscaleBrief, UpscaleParameters
from service.commission import Commission, State
from service.commissions import Commissions
from service.desk import Desk
from service.errors import InvalidRequest, JobUnfinished, Overloaded, Problem
from service.photographs import inspect
from service.preference import Preference
from service.results import Painting, Result
from service.routes import results
from service.routes.headers import IfNoneMatch, Within
from service.routes.problems import problems
from service.served_models import LARGEST_SCALE
from service.settings import Settings
from service.studio import Studio
from service.trace import Trace

LOOK_AGAIN = 1
"""Seconds after which a client may ask again how a job stands."""

Id = Annotated[
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
    """How a job stands."""

    id: str = Field(examples=["holiday-0042"])
    state: State
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
    def of(cls, commission: Commission, kept_seconds: float) -> Self:
        """The public part of a commission."""
        record, outcome = commission.record, commission.outcome
        return cls(
            id=record.id,
            state=commission.state,
            task=record.brief.task,
            created=record.created,
            started=commission.started,
            finished=outcome.finished if outcome else None,
            expires=outcome.finished + timedelta(seconds=kept_seconds) if outcome else None,
            progress=Progress(tiles=commission.tiles, done=commission.tiles_done),
            seconds=outcome.result.seconds if outcome and outcome.result else commission.trace.durations,
            result=outcome.result if outcome else None,
            problem=outcome.failure.error().problem(record.request_id) if outcome and outcome.failure else None,
        )


class JobParameters(StylizeParameters, UpscaleParameters):
    """The query of `PUT /v1/jobs/{id}`: that of the image call, and which call it is."""

    style: str | SkipJsonSchema[None] = Field(None, description="the style to paint in; or", examples=["great-wave"])
    scale: int | SkipJsonSchema[None] = Field(
        None, ge=2, le=LARGEST_SCALE, description="how many times the side grows", examples=[4]
    )

    def brief(self, accept: str | None, within: float | None) -> StylizeBrief | UpscaleBrief:
        """What is to be done; raises InvalidRequest where that is not one thing, or has options of the other."""
        given = self.model_dump(include=self.model_fields_set - {"style", "scale"})
        try:
            match self.style, self.scale:
                case str(style), None:
                    parameters = StylizeParameters.model_validate(given)
                    return StylizeBrief(style=style, parameters=parameters, accept=accept, within=within)
                case None, int(scale):
                    enlarging = UpscaleParameters.model_validate(given)
                    return UpscaleBrief(scale=scale, parameters=enlarging, accept=accept, within=within)
        except ValidationError as error:
            names = ", ".join(f"query.{fault['loc'][0]}" for fault in error.errors())
            raise InvalidRequest(f"{names}: not for a job with {'style' if self.style else 'scale'}") from error
        raise InvalidRequest("query.style, query.scale: a job needs one of them, and not both")


class Jobs:
    """Commissions over HTTP."""

    def __init__(self, settings: Settings, desk: Desk, studio: Studio, commissions: Commissions) -> None:
        self._settings = settings
        self._desk = desk
        self._studio = studio
        self._commissions = commissions
        self.router = APIRouter(prefix="/v1/jobs", tags=["jobs"])
        add, known = self.router.add_api_route, problems(404, 422, 503)
        add("/{id}", self.status, summary="How a job stands", response_model=JobStatus, responses=known)
        add(
            "/{id}",
            self.put,
            methods=["PUT"],
            summary="Begin a job",
            response_model=JobStatus,
            responses={
                200: {"description": "The job was there already"},
                201: {"model": JobStatus, "description": "The job was created"},
                **problems(400, 404, 406, 408, 409, 413, 415, 422, 500, 503),
            },
            openapi_extra=described(StylizeBrief.parts),
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
                200: results.described(),
                304: {"description": "The client has it"},
                **problems(400, 404, 409, 415, 422, 500, 503, 504, 507),
            },
        )

    async def status(self, id: Id) -> JobStatus:  # noqa: A002 # the parameter's name is public
        """How a job stands."""
        return self._status(self._commissions.find(id))

    async def put(
        self,
        request: Request,
        id: Id,  # noqa: A002
        parameters: Annotated[JobParameters, Query()],
        within: Within = None,
    ) -> Response:
        """Begin a job under an id of the client's own. Doing so again with the same image and query changes nothing."""
        brief = parameters.brief(request.headers.get("Accept"), within)
        with suppress(Overloaded):  # a job can wait
            self._studio.check(self._desk.order(brief))
        trace: Trace = request.state.trace
        with trace.stage("read"):
            limit, seconds = self._settings.max_body_bytes, self._settings.request_timeout
            body = await read_body(request, limit, seconds, brief.parts)
        self._refuse(brief, body)
        commission, new = await self._commissions.accept(id, brief, body, trace)
        return self._answer(commission, 201 if new else 200)

    async def remove(self, id: Id) -> Response:  # noqa: A002
        """Cancel a job, which frees the device at once, and forget its result."""
        await self._commissions.remove(id)
        return Response(status_code=204)

    async def result(
        self,
        request: Request,
        id: Id,  # noqa: A002
        known: IfNoneMatch = None,
    ) -> Response:
        """The image; the problem of a job that failed, as the call itself would have answered it."""
        return await self._result(request, self._commissions.find(id), known)

    async def accepted(
        self, request: Request, brief: StylizeBrief | UpscaleBrief, body: Body, preference: Preference
    ) -> Response:
        """202 and where the job is, or the image, where the client prefers to wait and it is ready in that time."""
        self._refuse(brief, body)
        commission, _ = await self._commissions.accept(uuid.uuid4().hex, brief, body, request.state.trace)
        with suppress(TimeoutError):
            async with asyncio.timeout(min(preference.wait, self._settings.request_timeout)):
                await while_connected(request.receive, commission.ended.wait())
        if preference.wait and commission.outcome is not None:
            response = await self._result(request, commission, None)
        else:
            response = self._answer(commission, 202)
        response.headers["Preference-Applied"] = "respond-async" if response.status_code == 202 else "wait"
        return response

    def _refuse(self, brief: StylizeBrief | UpscaleBrief, body: Body) -> None:
        """Raise now what would only fail later, as far as that can be known without decoding the image."""
        forecast = self._studio.forecast(self._desk.order(brief, body.mask), inspect(body.image))
        if forecast.refusal is not None and not isinstance(forecast.refusal, Overloaded):
            raise forecast.refusal

    def _answer(self, commission: Commission, status: int) -> Response:
        headers = {"Location": f"/v1/jobs/{commission.record.id}", "Cache-Control": "no-store"}
        headers |= {"Retry-After": str(LOOK_AGAIN)} if commission.outcome is None else {}
        return JSONResponse(self._status(commission).model_dump(mode="json"), status, headers)

    async def _result(self, request: Request, commission: Commission, known: Sequence[str] | None) -> Response:
        outcome = commission.outcome
        if outcome is None:
            detail = f"job {commission.record.id!r} is {commission.state}; a client may look again every second"
            raise JobUnfinished(detail, headers={"Retry-After": str(LOOK_AGAIN)}, retry_after=LOOK_AGAIN)
        if outcome.result is None:
            assert outcome.failure is not None
            raise outcome.failure.error()
        if results.unchanged(known, outcome.result.etag):
            return results.not_modified(request, outcome.result)
        content = await self._commissions.result(commission)
        return await results.respond(request, Painting(content, outcome.result))

    def _status(self, commission: Commission) -> JobStatus:
        return JobStatus.of(commission, self._settings.job_seconds)
