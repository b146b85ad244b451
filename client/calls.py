"""The calls of the API as flows: each request, and the reading of its answer. Both clients run these."""

import json
import math
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Self, TypeVar
from urllib.parse import quote

import httpx
from pydantic import BaseModel, ValidationError

from client.address import ascii_url
from client.answers import Estimate, Health, JobStatus, ModelDetails, ModelList, ModelSummary
from client.errors import UnexpectedAnswer, UnknownJob
from client.flow import Flow, Pause, Send, until
from client.options import Style, mixture, query
from client.picture import Picture
from client.request import Request
from client.retries import RetryPolicy, exchange, no_answer

FIRST_POLL_SECONDS = 0.1
POLL_SECONDS = 1.0
"""Between two looks at a job: short at first, and then as the service asks."""

LOOK_SECONDS = 1.0
"""What a look at a job is given at the least, though nobody waits for so long: the last one may find it ended."""

Parsed = TypeVar("Parsed", bound=BaseModel)


@dataclass(frozen=True)
class Task:
    """What a job or an estimate is about."""

    name: str
    """stylize or upscale."""
    subject: Mapping[str, object]
    """The style, or the scale."""
    options: Mapping[str, object]
    """Those that are not None."""

    @classmethod
    def of(cls, style: Style | None, scale: float | None, options: Mapping[str, object]) -> Self:
        """Of exactly one of the two; raises ValueError otherwise."""
        given = {name: value for name, value in options.items() if value is not None}
        if style is not None and scale is None:
            return cls("stylize", {"style": mixture(style)}, given)
        if scale is not None and style is None:
            return cls("upscale", {"scale": scale}, given)
        raise ValueError("name a style or a scale, and not both")


@dataclass(frozen=True)
class Calls:
    """The calls of one client, with its `policy`."""

    policy: RetryPolicy = field(default_factory=RetryPolicy)
    timeout: float | None = None
    """Seconds for each image whose call names none, and for its estimate. A job is not given up for that."""

    def stylize(
        self, image: bytes, style: Style, mask: bytes | None, timeout: float | None, options: Mapping[str, object]
    ) -> Flow[Picture]:
        """POST /v1/stylize/{style}."""
        path = f"/v1/stylize/{quote(mixture(style), safe=':,')}"
        return self.picture(self._post(path, image, query(options), timeout, mask))

    def upscale(
        self, image: bytes, scale: float, timeout: float | None, options: Mapping[str, object]
    ) -> Flow[Picture]:
        """POST /v1/upscale/{scale}."""
        return self.picture(self._post(f"/v1/upscale/{scale}", image, query(options), timeout))

    def picture(self, request: Request) -> Flow[Picture]:
        """The picture that a request is answered with."""
        return Picture.parse((yield from exchange(request, self.policy)))

    def estimate(self, task: Task, image: Mapping[str, object], timeout: float | None) -> Flow[Estimate]:
        """POST /v1/estimate. `image` has what is known of it."""
        body = {"task": task.name, **task.subject, **image, "timeout": self._seconds(timeout), "options": task.options}
        headers = {"Content-Type": "application/json"}
        request = Request("POST", "/v1/estimate", headers=headers, content=json.dumps(body, default=_plain).encode())
        return _parse(Estimate, (yield from exchange(request, self.policy)))

    def models(self) -> Flow[list[ModelSummary]]:
        """GET /v1/models."""
        answer = yield from self._get("/v1/models")
        return [*_parse(ModelList, answer).models]

    def model(self, name: str) -> Flow[ModelDetails]:
        """GET /v1/models/{name}."""
        return _parse(ModelDetails, (yield from self._get(model_path(name))))

    def card(self, name: str) -> Flow[str]:
        """GET /v1/models/{name}/card."""
        answer = yield from self._get(f"{model_path(name)}/card")
        return answer.text

    def preview(self, name: str) -> Flow[Picture]:
        """GET /v1/models/{name}/preview."""
        return Picture.parse((yield from self._get(f"{model_path(name)}/preview")))

    def probe(self, path: str) -> Flow[Health]:
        """GET /livez or /readyz, once. Raises NoAnswer where there is none."""
        reply = yield Send(Request("GET", path), self.policy.deadline)
        if isinstance(reply, httpx.RequestError):
            raise no_answer(reply)
        assert reply is not None, "only a Pause is answered with None"
        return _parse(Health, reply)

    def submit(
        self,
        image: bytes,
        task: Task,
        job_id: str | None,
        mask: bytes | None,
        timeout: float | None,
        callback_url: str | None,
    ) -> Flow[JobStatus]:
        """PUT /v1/jobs/{id}. The id is chosen here if not by the caller, so that a retry begins no second job."""
        path = _job_path(job_id or uuid.uuid4().hex)
        headers = {} if callback_url is None else {"X-Callback-URL": ascii_url(callback_url)}
        request = Request("PUT", path, query({**task.subject, **task.options}), headers, image, mask, timeout)
        return _parse(JobStatus, (yield from exchange(request, self.policy)))

    def job_status(self, job_id: str, end: float = math.inf) -> Flow[JobStatus]:
        """GET /v1/jobs/{id}. Raises TimeoutError where there is no answer at `end`, a time of the policy's clock."""
        clock = self.policy.clock
        answer = yield from until(self._get(_job_path(job_id)), max(end, clock() + LOOK_SECONDS), clock)
        return _parse(JobStatus, answer)

    def next_status(self, last: JobStatus, end: float) -> Flow[JobStatus]:
        """The state of a job as soon as it is another than the last one that was seen.

        Raises TimeoutError where it is none at `end`, a time of the policy's clock.
        """
        pause = FIRST_POLL_SECONDS
        while True:
            status = yield from self.job_status(last.id, end)
            if status.ended or (status.state, status.progress) != (last.state, last.progress):
                return status
            if self.policy.clock() >= end:
                raise TimeoutError(f"job {last.id!r} is {status.state} still")
            yield Pause(min(pause, max(end - self.policy.clock(), 0.0)))
            pause = min(2 * pause, POLL_SECONDS)

    def job_result(self, job_id: str) -> Flow[Picture]:
        """GET /v1/jobs/{id}/result."""
        return Picture.parse((yield from self._get(f"{_job_path(job_id)}/result")))

    def cancel_job(self, job_id: str) -> Flow[None]:
        """DELETE /v1/jobs/{id}; a job that is gone stays so."""
        try:
            yield from exchange(Request("DELETE", _job_path(job_id)), self.policy)
        except UnknownJob:
            return

    def _post(
        self, path: str, image: bytes, parameters: Mapping[str, str], timeout: float | None, mask: bytes | None = None
    ) -> Request:
        return Request("POST", path, parameters, content=image, mask=mask, timeout=self._seconds(timeout))

    def _seconds(self, timeout: float | None) -> float | None:
        return self.timeout if timeout is None else timeout

    def _get(self, path: str) -> Flow[httpx.Response]:
        return exchange(Request("GET", path), self.policy)


def model_path(name: str) -> str:
    """Where a model is, whatever its name has in it."""
    return f"/v1/models/{quote(name, safe='')}"


def _job_path(job_id: str) -> str:
    return f"/v1/jobs/{quote(job_id, safe='')}"


def _plain(value: object) -> object:
    """What JSON can have of a NumPy scalar, which a query has as its text. NumPy is not imported for it."""
    item = getattr(value, "item", None)
    if callable(item):
        return item()
    raise TypeError(f"options are texts, numbers and booleans; {value!r} is a {type(value).__name__}")


def _parse(kind: type[Parsed], answer: httpx.Response) -> Parsed:
    try:
        return kind.model_validate_json(answer.content)
    except ValidationError as error:
        raise UnexpectedAnswer(f"{answer.request.url} answered with what is no {kind.__name__}: {error}") from error
