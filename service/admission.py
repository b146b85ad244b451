"""How much work is taken on. What cannot be answered in time is refused before it costs anything."""

import asyncio
import math
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from time import monotonic
from typing import Generic

from service.errors import ClientGone, Draining, Overloaded
from service.jobs import Job, Model, Priority
from service.metrics import Metrics
from service.standing import StandingRefusals

RESERVE = 1.25
"""Work is taken on if it would be done in time were it to take so many times the prediction."""

LATELY = 300.0
"""Seconds for which it is remembered how long a client waited. It is learned from clients that leave, and hardly any do
once it is known; where it is forgotten, a device full of work for those who are about to leave learns it again."""

REMEMBERED = 1024
"""Clients at most of whom it is remembered."""

STILL_THERE = 0.2
"""Clients are taken to be gone at the age that so few reach."""

FEWEST_SEEN = 3
"""So many clients at least must have been seen at that age."""


@dataclass(frozen=True)
class QueueLimits:
    """How much work is taken on at most."""

    requests: int
    pixels: int
    """Of the answers, to which the memory that they take is proportional."""


@dataclass(frozen=True)
class Work(Generic[Model]):
    """One image of that size for one network: a job before it is one."""

    model: Model
    height: int
    width: int
    answer_pixels: int = 0
    """Of the answer, where the network's result is enlarged to it."""

    @property
    def output_pixels(self) -> int:
        """Of its result or of the answer, whichever is larger."""
        return max(self.height * self.width * self.model.scale**2, self.answer_pixels)


class Patience:
    """How long clients wait before they leave that do not say it, as they have shown lately.

    A request says how long it may take (X-Request-Timeout), or its client just leaves. Where nearly all of those that
    have not said it leave at some age, work that would end later is work for nobody. Those who were answered before
    they could lose patience count as present until then (the estimator of Kaplan and Meier, 1958); a few impatient ones
    therefore decide nothing.
    """

    def __init__(self) -> None:
        self._seen: deque[tuple[float, float, bool]] = deque(maxlen=REMEMBERED)

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
        self._requests = 0
        self._released = asyncio.Event()
        self.refusals = StandingRefusals()
        """What it has refused lately, for the next ones that ask for the same."""
        self.draining = False
        """Whether nothing is admitted any more; see `close`."""
        metrics.admitted_requests.set_function(lambda: self._requests)
        metrics.admitted_pixels.set_function(self.pixels)
        metrics.backlog.set_function(self.backlog_seconds)

    def pixels(self) -> int:
        """Output pixels of everything admitted."""
        return sum(job.output_pixels for job in self.jobs)

    def backlog_seconds(self) -> float:
        """Predicted seconds until everything admitted is done."""
        now = monotonic()
        return sum(job.remaining(now) for job in self.jobs) / self._lanes

    def finish(self, *jobs: Job[Model]) -> float:
        """When all of a request's jobs will be finished, as predicted from what is admitted and more urgent."""
        return monotonic() + sum(self.forecast(*jobs))

    def forecast(self, *jobs: Job[Model]) -> tuple[float, float]:
        """Seconds of what is admitted and more urgent than a request's jobs, and seconds of the jobs themselves."""
        now, due = monotonic(), max(job.due() for job in jobs)
        others = [other for other in self.jobs if other not in jobs]
        ahead = sum(other.remaining(now) for other in others if other.due() <= due)
        count = sum(job.count for job in jobs)
        alone = not others and count == 1
        longest = max(job.least_seconds(alone=alone) for job in jobs)
        together = 0.0 if alone else sum(job.waiting_seconds for job in jobs) / self._lanes
        return ahead / self._lanes, max(longest, together)

    def jobs_of(
        self, work: Sequence[Work[Model]], deadline: float, priority: Priority, *, silent: bool = False
    ) -> list[Job[Model]]:
        """Jobs for the images of one request, not admitted, and not checked."""
        return [
            Job(
                one.model,
                one.height,
                one.width,
                deadline,
                priority,
                self._lanes,
                silent=silent and priority is Priority.INTERACTIVE,
                output_pixels=one.output_pixels,
            )
            for one in work
        ]

    def check(
        self,
        work: Sequence[Work[Model]],
        deadline: float,
        priority: Priority = Priority.INTERACTIVE,
        *,
        silent: bool = False,
    ) -> list[Job[Model]]:
        """Jobs for the images of one request, not yet admitted; raises Draining, or Overloaded where they cannot be."""
        if self.draining:
            raise Draining
        jobs = self.jobs_of(work, deadline, priority, silent=silent)
        try:
            self._check(jobs)
        except Overloaded as refusal:
            refusal.pixels = sum(one.height * one.width for one in work)
            raise
        return jobs

    @contextmanager
    def admit(
        self,
        work: Sequence[Work[Model]],
        deadline: float,
        priority: Priority = Priority.INTERACTIVE,
        *,
        silent: bool = False,
    ) -> Iterator[list[Job[Model]]]:
        """Room for the images of one request, all or none, from before they are decoded until the answer is encoded.

        A job for each of them, in order; the block's end gives the room back. `deadline` is a time of `time.monotonic`;
        a `silent` client has not said it. Raises Draining, or Overloaded with the time until there is room.
        """
        jobs = self.check(work, deadline, priority, silent=silent)
        self.jobs |= dict.fromkeys(jobs)
        self._requests += 1
        self.refusals.make_room()
        try:
            yield jobs
            self._saw(jobs[0], left=False)
        except BaseException as error:
            self._abandon(jobs)
            if isinstance(error, ClientGone | asyncio.CancelledError):  # work whose client has left is cancelled
                self._saw(jobs[0], left=True)
            raise
        finally:
            self._release(jobs)

    def close(self) -> None:
        """Admit nothing more: who comes is told that the service stops, and not that it is full."""
        self.draining = True
        self.refusals.clear()

    async def drain(self, seconds: float) -> None:
        """Admit nothing more, wait so long for what was admitted, and answer the rest with Draining."""
        self.close()
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

    def _abandon(self, jobs: Sequence[Job[Model]]) -> None:
        for job in jobs:
            job.abandoned = True
            job.drop()
            self._metrics.device_wasted.inc(job.device_seconds)

    def _release(self, jobs: Sequence[Job[Model]]) -> None:
        self._requests -= 1
        for job in jobs:
            del self.jobs[job]
            if not job.result.cancel() and not job.result.cancelled():
                job.result.exception()  # seen, though nobody may have waited for it
        if self.jobs:
            self.refusals.make_room()
        else:
            self.refusals.clear()
        self._released.set()

    def _saw(self, job: Job[Model], *, left: bool) -> None:
        if job.silent:
            self._patience.saw(monotonic() - job.admitted, left=left)

    def _check(self, jobs: Sequence[Job[Model]]) -> None:
        limits, pixels = self._limits, self.pixels() + sum(job.output_pixels for job in jobs)
        if self._requests >= limits.requests:
            raise self._overloaded("requests", self._requests + 1, limits.requests)
        if pixels > limits.pixels:
            raise self._overloaded("output pixels", pixels, limits.pixels)
        if self.jobs:  # what finds the service empty is let in: the prediction may be wrong
            self._check_time(jobs)
            self._check_others(jobs)

    def _check_time(self, jobs: Sequence[Job[Model]]) -> None:
        """Refuse now what would wait in vain."""
        now = monotonic()
        needed = (self.finish(*jobs) - now) * RESERVE
        accepted = min(jobs[0].deadline - now, self._patience.seconds() if jobs[0].silent else math.inf)
        if needed > accepted > 0:
            wait = max(1, math.ceil(needed - accepted))
            detail = f"the answer would take {needed:.1f} s, and there are {accepted:.1f} s for it; retry in {wait} s"
            raise _refusal(detail, wait)

    def _check_others(self, newcomers: Sequence[Job[Model]]) -> None:
        """Refuse what is more urgent than something admitted, and would have that given up for lack of time.

        What would be given up anyway refuses nobody.
        """
        now, due, ahead = monotonic(), min(job.due() for job in newcomers), 0.0
        work = sum(job.work for job in newcomers)
        for other in sorted(self.jobs, key=Job.due):
            needed = ahead / self._lanes + other.least_seconds() * RESERVE
            ahead += other.remaining(now)
            left = other.deadline - now - needed
            if other.tiles and other.due() > due and 0 <= left < work / self._lanes:
                wait = max(1, math.ceil(needed))
                raise _refusal(f"it would make an answer late that another client waits for; retry in {wait} s", wait)

    def _overloaded(self, what: str, actual: int, accepted: int) -> Overloaded:
        """Room for what is too much comes when its share of everything admitted is done."""
        share = min(1.0, (actual - accepted) / actual)
        wait = max(1, math.ceil(self.backlog_seconds() * share))
        detail = f"with this request {actual} {what} would be admitted, {accepted} are accepted; retry in {wait} s"
        return _refusal(detail, wait)


def _refusal(detail: str, wait: int) -> Overloaded:
    return Overloaded(detail, headers={"Retry-After": str(wait)}, retry_after=wait)
