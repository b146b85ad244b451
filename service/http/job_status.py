"""The state of a job, as clients are told of it."""

from datetime import datetime, timedelta
from typing import Literal, Self

from pydantic import BaseModel, Field

from service.http.problems import Problem
from service.jobs.job import Job, JobState, public_id
from service.pipeline.result import Result


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
        """The public part of a job, whose result is kept for `kept_seconds`; `prefix` is that of all paths."""
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
            seconds=job.seconds,
            result=outcome.result if outcome else None,
            problem=Problem.of(failure, record.request_id, prefix) if failure else None,
        )
