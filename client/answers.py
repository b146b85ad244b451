"""What the service says, as types. Members that this client does not know are ignored."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from client.errors import Problem
from client.problems import stored_problem


class Answer(BaseModel):
    """A part of an answer in JSON."""

    model_config = ConfigDict(frozen=True)


class ModelVersion(Answer):
    """The version of a network that took part."""

    name: str
    version: int
    digest: str = ""
    """SHA-256 of its weights."""


class ModelSummary(Answer):
    """A network of the service."""

    name: str
    state: Literal["ready", "failed"]
    version: int | None
    task: Literal["style", "super-resolution", "restoration"] | None = None
    scale: int | None = None
    """Side of the output over side of the input."""
    title: str = ""
    license: str = ""
    tileable: bool | None = None
    digest: str | None = None
    created: datetime | None = None
    preview: str | None = None
    """Path of a picture of what it does."""
    failure: Mapping[str, Any] | None = None
    """Why a newer or the only version is not served."""


class ModelDetails(ModelSummary):
    """A network with its manifest, as it was published."""

    manifest: Mapping[str, Any] | None = None


class ModelList(Answer):
    """Every network of the service."""

    models: list[ModelDetails]


class Sides(Answer):
    """A size in pixels."""

    width: int
    height: int


class Estimate(Answer):
    """What a request would get at this moment."""

    accepted: bool
    problem: Mapping[str, Any] | None
    models: list[str]
    """name@version of each network that would take part."""
    damaged_models: list[str] = []
    """Those instead, where the image turns out damaged."""
    output: Sides | None
    pixels: int | None
    inferences: int | None
    tiles: int | None
    queue_seconds: float | None
    infer_seconds: float | None

    @property
    def refusal(self) -> Problem | None:
        """The error that the request would get; None where it would be accepted."""
        return _as_error(self.problem)


class Progress(Answer):
    """How many of the tiles of a job are done; both are 0 until it has been admitted."""

    tiles: int
    done: int

    @property
    def fraction(self) -> float:
        """From 0 to 1."""
        return self.done / self.tiles if self.tiles else 0.0


class JobResult(Answer):
    """What is known of the image of a job that succeeded."""

    models: list[ModelVersion]
    verdict: str = ""
    """What was found in the photograph, where that decided on the networks."""
    format: str
    media_type: str
    width: int
    height: int
    bytes: int
    etag: str
    seconds: Mapping[str, float]
    """Spent in each stage."""


class JobStatus(Answer):
    """The state of a job."""

    id: str
    state: Literal["queued", "running", "succeeded", "failed"]
    task: Literal["stylize", "upscale"]
    created: datetime
    started: datetime | None = None
    finished: datetime | None = None
    expires: datetime | None = None
    progress: Progress
    seconds: Mapping[str, float]
    result: JobResult | None = None
    problem: Mapping[str, Any] | None = None

    @property
    def ended(self) -> bool:
        """Whether it has succeeded or failed."""
        return self.state in ("succeeded", "failed")

    @property
    def failure(self) -> Problem | None:
        """The error of a job that failed; None of any other."""
        return _as_error(self.problem)


class Health(Answer):
    """The answer of a probe; `problems` is empty if all is well."""

    status: Literal["ok", "failing"]
    problems: list[str]
    models: list[str] = []
    """name@version of what is served; of `ready` only, as are the following."""
    failed: list[str] = []
    warnings: list[str] = []

    @property
    def ok(self) -> bool:
        """Whether there are no problems."""
        return self.status == "ok"


def _as_error(problem: Mapping[str, Any] | None) -> Problem | None:
    return stored_problem(problem) if problem else None
