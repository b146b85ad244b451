"""`POST /v1/stylize/{style}` and `POST /v1/upscale/{scale}`: an image in, an image out."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from time import monotonic
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from service.admission import Admission
from service.body import described, read_body, while_connected
from service.briefs import StylizeBrief, StylizeParameters, UpscaleBrief, UpscaleParameters
from service.desk import Desk
from service.errors import Overloaded
from service.orders import Order
from service.preference import Preference
from service.question import ANY_SIZE, Question, question
from service.routes import results
from service.routes.headers import Prefer, Scale, Styles, Within
from service.routes.jobs import Jobs, JobStatus
from service.routes.problems import problems
from service.served_models import ServedModel
from service.settings import Settings
from service.sharing import SharedStudio
from service.studio import Studio
from service.trace import Trace

PIXELS_PER_BYTE = 8
"""What a file of a photograph has at most, but where it was compressed hard or shows nearly nothing."""

PROMPT = 0.1
"""Part of its time within which a request must be decided on for its refusal to hold for others."""


class Images:
    """Requests to orders, and answers to responses."""

    def __init__(
        self,
        settings: Settings,
        desk: Desk,
        admission: Admission[ServedModel],
        studio: Studio,
        shared: SharedStudio,
        jobs: Jobs,
    ) -> None:
        self._settings = settings
        self._desk = desk
        self._admission = admission
        self._studio = studio
        self._shared = shared
        self._jobs = jobs
        self.router = APIRouter(tags=["images"], responses=problems(400, 404, 406, 408, 413, 415, 422, 500, 503, 504))
        accepted = {"model": JobStatus, "description": "The job that `Prefer: respond-async` asked for"}
        for path, endpoint, brief in (
            ("/v1/stylize/{style}", self.stylize, StylizeBrief),
            ("/v1/upscale/{scale}", self.upscale, UpscaleBrief),
        ):
            self.router.add_api_route(
                path,
                endpoint,
                methods=["POST"],
                response_class=Response,
                responses={200: results.described(), 202: accepted},
                openapi_extra=described(brief.parts),
            )

    async def stylize(
        self,
        request: Request,
        style: Styles,
        parameters: Annotated[StylizeParameters, Query()],
        within: Within = None,
        prefer: Prefer = None,
    ) -> Response:
        """Paint an image in a style or in several, wholly or in part.

        As a form, it may have a mask beside the image.
        """
        accept = request.headers.get("Accept")
        return await self._answer(
            request,
            StylizeBrief(style=style, parameters=parameters, accept=accept, within=within),
            Preference.of(prefer),
        )

    async def upscale(
        self,
        request: Request,
        scale: Scale,
        parameters: Annotated[UpscaleParameters, Query()],
        within: Within = None,
        prefer: Prefer = None,
    ) -> Response:
        """Enlarge an image to `scale` times its sides, or to any size below that."""
        accept = request.headers.get("Accept")
        return await self._answer(
            request,
            UpscaleBrief(scale=scale, parameters=parameters, accept=accept, within=within),
            Preference.of(prefer),
        )

    async def _answer(self, request: Request, brief: StylizeBrief | UpscaleBrief, preference: Preference) -> Response:
        """The life of a request: refused before its body is read where it can be, answered while the client waits."""
        trace: Trace = request.state.trace
        order = self._desk.order(brief)
        trace.model, trace.version = order.model.name, order.model.manifest.version
        settings = self._settings
        asked = question(request.scope, settings.request_timeout, settings.max_request_timeout)
        refused = [Overloaded] if preference.respond_async else []  # a job can wait
        with suppress(*refused), self._remembered(order, asked and asked._replace(size=ANY_SIZE)):
            self._studio.check(order)
        with trace.stage("read"):
            seconds = min(settings.request_timeout, order.terms.seconds)
            body = await read_body(request, settings.max_body_bytes, seconds, brief.parts)
        if preference.respond_async:
            return await self._jobs.accepted(request, brief, body, preference)
        order = replace(order, mask=body.mask)
        with self._remembered(order, asked, len(body.image)):
            painting = await while_connected(request.receive, self._shared.paint(order, body.image, trace))
        return await results.respond(request, painting)

    @contextmanager
    def _remembered(self, order: Order, asked: Question | None, length: int | None = None) -> Iterator[None]:
        """Let a refusal inside the block stand for what is asked likewise.

        But not that of an image which is larger than its length lets expect, or whose upload has taken the time.
        """
        try:
            yield
        except Overloaded as refusal:
            prompt = monotonic() - order.terms.began <= PROMPT * order.terms.seconds
            typical = length is None or refusal.pixels <= PIXELS_PER_BYTE * length
            if asked is not None and prompt and typical:
                self._admission.refusals.remember(refusal, asked)
            raise
