"""How much work is taken on. What cannot be answered in time is refused before it costs anything."""

import asyncio
import math
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from time import monotonic
from typing import Generic

from service.errors import ClientGone, Draining, Overloaded
from service.jobs import Job, Model, Priority
from service.metrics import Metrics

RESERVE = 1.25
"""Work is taken on if it would be done in time were it to take so many times the prediction."""

LATELY = 30.0
"""Seconds for which it is remembered how long a client waited."""

STILL_THERE = 0.2
"""Clients are taken to be gone at the age that so few reach."""

STANDING_SECONDS = 0.25
"""For so long a refusal holds for the next ones, unless something is answered before."""

FEWEST_SEEN = 3
"""So many clients at least must have been seen at that age."""


@dataclass(frozen=True)
class QueueLimits:
    """How much work is taken on at most."""

    requests: int
    pixels: int
    """Of the answers, to which the memory that they take is proportional."""


@dataclass(frozen=True)
class Standing:
    """A refusal that holds for requests like the one that was refused, until `end` (`time.monotonic`)."""

    refusal: Overloaded
    end: float
    seconds: float
    length: int


class Patience:
    """How long clients wait before they leave, as they have shown lately.

    A request says how long it may take (X-Request-Timeout), or its client just leaves. Where nearly all leave at some
    age, work that would end later is work for nobody. Those who were answered before they could lose patience count as
    present until then (the estimator of Kaplan and Meier, 1958); a few impatient ones therefore decide nothing.
    """

    def __init__(self) -> None:
        self._seen: deque[tuple[float, float, bool]] = deque(maxlen=128)

    def saw(self, waited: float, *, left: bool) -> None:
        """A client has left, or has been answered, after so many seconds."""
        self._seen.append((monotonic(), waited, left))

    def seconds(self) -> float:
        """The age that few clients reach; infinite where none is known."""
        recent = sorted((waited, left) for at, waited, left in self._seen if at > monotonic() - LATELY)
        present = 1.0
        for there, (waited, left) in zip(range(len(recent), FEWEST_SEEN - 1, -1), recent, strict=False):
            present *= 1 - left / there
            if present < STILL_THERE:
                return waited
        return math.inf


class Admission(Generic[Model]):
    """Everything that was admitted and is not answered yet, and the rules by which more is."""

    def __init__(self, limits: QueueLimits, lanes: int, metrics: Metrics) -> None:
        self._limits = limits
        self._lanes = lanes
        self._metrics = metrics
        self._patience = Patience()
        self.jobs: dict[Job[Model], None] = {}
        """What was admitted and is not answered yet."""
        self._released = asyncio.Event()
        self._standing: dict[str, Standing] = {}
        self.draining = False
        """Whether nothing is admitted any more."""
        metrics.admitted_requests.set_function(lambda: len(self.jobs))
        metrics.admitted_pixels.set_function(self.pixels)
        metrics.backlog.set_function(self.backlog_seconds)

    def pixels(self) -> int:
        """Output pixels of everything admitted."""
        return sum(job.output_pixels for job in self.jobs)

    def backlog_seconds(self) -> float:
        """Predicted seconds until everything admitted is done."""
        now = monotonic()
        return sum(job.remaining(now) for job in self.jobs) / self._lanes

    def finish(self, job: Job[Model]) -> float:
        """When a job will be finished, as predicted from what is admitted and more urgent."""
        now, due = monotonic(), job.due()
        others = [other for other in self.jobs if other is not job]
        ahead = sum(other.remaining(now) for other in others if other.due() <= due)
        alone = not others and job.count == 1
        own = sum(job.model.cost.seconds(tile.pixels, alone=alone) for tile in job.tiles)
        return now + ahead / self._lanes + own / min(job.count, self._lanes)

    def check(self, model: Model, height: int, width: int, deadline: float, priority: Priority) -> Job[Model]:
        """A job for an image of that size, not yet admitted; raises Draining, or Overloaded where it cannot be."""
        if self.draining:
            raise Draining
        job = Job(model, height, width, deadline, priority, self._lanes)
        limits, pixels = self._limits, self.pixels() + job.output_pixels
        if len(self.jobs) >= limits.requests:
            raise self._overloaded("requests", len(self.jobs) + 1, limits.requests)
        if pixels > limits.pixels:
            raise self._overloaded("output pixels", pixels, limits.pixels)
        self._check_time(job)
        return job

    def remember(self, refusal: Overloaded, seconds: float, path: str, length: int) -> None:
        """Let a refusal stand for requests like that one: to a path, with so many seconds, a body of such a length."""
        self._standing[path] = Standing(refusal, monotonic() + STANDING_SECONDS, seconds, length)

    def standing(self, seconds: float, path: str, length: int) -> Overloaded | None:
        """The refusal of a moment ago, where it holds for a request that gives no more time and asks for no less.

        The length of a body stands for the size of its image, which is not known before it is read.
        """
        last = self._standing.get(path)
        if last is None or monotonic() > last.end or seconds > last.seconds or length < last.length:
            return None
        return last.refusal

    @contextmanager
    def admit(
        self,
        model: Model,
        height: int,
        width: int,
        deadline: float,
        priority: Priority = Priority.INTERACTIVE,
    ) -> Iterator[Job[Model]]:
        """Room for one image, from before it is decoded until its answer is encoded; the block's end gives it back.

        `deadline` is a time of `time.monotonic`. Raises Draining, or Overloaded with the time until there is room.
        """
        job = self.check(model, height, width, deadline, priority)
        self.jobs[job] = None
        try:
            yield job
            self._patience.saw(monotonic() - job.admitted, left=False)
        except BaseException as error:
            self._abandon(job, error)
            raise
        finally:
            del self.jobs[job]
            self._standing.clear()
            self._released.set()
            if not job.result.cancel() and not job.result.cancelled():
                job.result.exception()  # seen, though nobody may have waited for it

    async def drain(self, seconds: float) -> None:
        """Admit nothing more, wait so long for what was admitted, and answer the rest with Draining."""
        self.draining = True
        try:
            async with asyncio.timeout(seconds):
                await self._until_empty()
        except TimeoutError:
            for job in list(self.jobs):
                job.fail(Draining())
            await asyncio.sleep(0)  # let the waiters go on with that

    async def _until_empty(self) -> None:
        while self.jobs:
            self._released.clear()
            await self._released.wait()

    def _abandon(self, job: Job[Model], error: BaseException) -> None:
        job.abandoned = True
        job.tiles.clear()
        self._metrics.device_wasted.inc(job.device_seconds)
        if isinstance(error, ClientGone):
            self._patience.saw(monotonic() - job.admitted, left=True)

    def _check_time(self, job: Job[Model]) -> None:
        """Refuse now what would wait in vain. What finds the service empty is let in: the model may be wrong for it."""
        if not self.jobs:
            return
        now = monotonic()
        needed = (self.finish(job) - now) * RESERVE
        accepted = min(job.deadline - now, self._patience.seconds())
        if needed > accepted > 0:
            wait = max(1, math.ceil(needed - accepted))
            detail = f"the answer would take {needed:.1f} s, and there are {accepted:.1f} s for it; retry in {wait} s"
            raise _refusal(detail, wait)

    def _overloaded(self, what: str, actual: int, accepted: int) -> Overloaded:
        """Room for what is too much comes when its share of everything admitted is done."""
        share = min(1.0, (actual - accepted) / actual)
        wait = max(1, math.ceil(self.backlog_seconds() * share))
        detail = f"with this request {actual} {what} would be admitted, {accepted} are accepted; retry in {wait} s"
        return _refusal(detail, wait)


def _refusal(detail: str, wait: int) -> Overloaded:
    return Overloaded(detail, headers={"Retry-After": str(wait)}, retry_after=wait)
