"""Admission control: which requests are taken on. One that cannot be answered in time is refused before it costs much.

No HTTP: a refusal is an exception.
"""

import asyncio
import math
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from time import monotonic
from typing import Generic, Protocol

from service.engine.backlog import Backlog, Prediction
from service.engine.deadline import Deadline
from service.engine.inference_request import InferenceRequest, RequestGroup
from service.engine.inference_spec import InferenceSpec, Model
from service.engine.patience import CLIENT_LEFT, Patience
from service.engine.priority import Priority, SchedulingPolicy
from service.errors import ClientGone, Draining, Overloaded
from service.telemetry.metrics import Metrics

SAFETY_FACTOR = 1.25
"""Predicted times are multiplied by this before they are compared with a deadline."""


@dataclass(frozen=True)
class QueueLimits:
    """The most work that is admitted at a time."""

    requests: int
    """Requests of clients, each with one inference request or several."""
    pixels: int
    """Output pixels of all of them, to which their memory is proportional."""
    inferences: int
    """Inference requests of all of them: one for each frame and network."""


class CapacityListener(Protocol):
    """Is told when an earlier refusal may no longer hold."""

    def capacity_changed(self) -> None:
        """A request was admitted or answered: one more may be admitted now."""

    def refusals_invalid(self) -> None:
        """Nothing is admitted, or the service is stopping: no earlier refusal holds."""


class Admission(Generic[Model]):
    """Everything that was admitted and is not answered yet, and the rules by which more is admitted."""

    def __init__(
        self,
        limits: QueueLimits,
        lanes: int,
        metrics: Metrics,
        *,
        listener: CapacityListener | None = None,
        patience: Patience | None = None,
        policy: SchedulingPolicy | None = None,
        load_seconds: Callable[[Model], float] = lambda _: 0.0,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        """`lanes`: batches that run side by side; `load_seconds`: until the weights of a model are on the device."""
        self._limits = limits
        self._lanes = lanes
        self._metrics = metrics
        self._listener = listener
        self._policy = policy or SchedulingPolicy()
        self._clock = clock
        self.patience = patience or Patience()
        self.draining = False
        """Whether nothing is admitted any more; see `close`."""
        self.backlog: Backlog[Model] = Backlog(lanes, clock, load_seconds)
        """Everything that is admitted and not answered yet."""
        self._released = asyncio.Event()
        metrics.admitted_requests.set_function(lambda: self.backlog.client_requests)
        metrics.admitted_inferences.set_function(lambda: len(self.backlog.inferences))
        metrics.admitted_pixels.set_function(lambda: self.backlog.output_pixels)
        metrics.backlog.set_function(self.backlog.seconds)
        for name, limit in asdict(limits).items():
            metrics.admission_limit.labels(name).set(limit)

    @property
    def inferences(self) -> Collection[InferenceRequest[Model]]:
        """The inference requests that are admitted and not answered yet."""
        return self.backlog.inferences.keys()

    def output_pixels(self) -> int:
        """Output pixels of everything admitted."""
        return self.backlog.output_pixels

    def predicted_finish(self, *requests: InferenceRequest[Model]) -> float:
        """When all of these will be finished, given what is admitted and more urgent (`time.monotonic`)."""
        return self._clock() + sum(self.backlog.forecast(requests))

    def forecast(self, *requests: InferenceRequest[Model], frames: int = 1) -> tuple[float, float]:
        """Predicted seconds of what is admitted and due before a client's requests, and of the requests themselves.

        `frames`: how many there are of each.
        """
        return self.backlog.forecast(requests, frames)

    def new_requests(
        self,
        specs: Sequence[InferenceSpec[Model]],
        deadline: Deadline,
        frames: int = 1,
    ) -> list[InferenceRequest[Model]]:
        """Inference requests for the first of a client's frames, neither checked nor admitted."""
        group = RequestGroup(frames * sum(spec.work_seconds for spec in specs))
        return [
            InferenceRequest(spec, deadline, self._lanes, group=group, policy=self._policy, clock=self._clock)
            for spec in specs
        ]

    def check(
        self,
        specs: Sequence[InferenceSpec[Model]],
        deadline: Deadline,
        frames: int = 1,
    ) -> list[InferenceRequest[Model]]:
        """Inference requests for the first of a client's frames, all of which could be admitted now.

        Raises Draining, or Overloaded where they could not. What another replica had admitted needs memory alone.
        """
        if self.draining:
            raise Draining
        requests = self.new_requests(specs, deadline, frames)
        try:
            self._check(requests, frames, deadline)
        except Overloaded as refusal:
            refusal.frames, refusal.pixels = frames, frames * sum(spec.height * spec.width for spec in specs)
            raise
        return requests

    @contextmanager
    def admit(
        self,
        specs: Sequence[InferenceSpec[Model]],
        deadline: Deadline,
        frames: int = 1,
    ) -> Iterator[list[InferenceRequest[Model]]]:
        """Admit the frames of one client, all or none, from before they are decoded until the answer is encoded.

        `specs`: the inferences of each frame. The block gets an inference request for each of them, frame by frame;
        leaving it releases their capacity. Raises Draining, or Overloaded with the seconds until there is room.
        """
        first = self.check(specs, deadline, frames)
        requests = first + [request.for_later_frame() for _ in range(frames - 1) for request in first]
        self.backlog.add(requests, len(specs))
        self._notify_listener()
        try:
            yield requests
            self._observe_patience(requests[0], left=False)
        except BaseException as error:
            self._abandon(requests)
            if _is_departure(error):
                self._observe_patience(requests[0], left=True)
            raise
        finally:
            self._release(requests)

    def use_lanes(self, lanes: int) -> None:
        """So many batches run side by side from now on."""
        self._lanes = lanes
        self.backlog.use_lanes(lanes)

    def close(self) -> None:
        """Admit nothing more. Whoever comes is told that the service stops, not that it is full."""
        self.draining = True
        self._notify_listener()

    async def drain(self, seconds: float) -> None:
        """Admit nothing more, wait `seconds` for what was admitted, and answer the rest with Draining."""
        self.close()
        try:
            async with asyncio.timeout(seconds):
                await self._until_empty()
        except TimeoutError:
            for request in list(self.inferences):
                request.fail(Draining())
            await asyncio.sleep(0)  # let those who wait go on with that

    async def _until_empty(self) -> None:
        while self.inferences:
            self._released.clear()
            await self._released.wait()

    def _abandon(self, requests: Sequence[InferenceRequest[Model]]) -> None:
        for request in requests:
            request.abandoned = True
            request.drop_tiles()
        self._metrics.device_wasted.inc(sum(request.device_seconds for request in requests))

    def _release(self, requests: Sequence[InferenceRequest[Model]]) -> None:
        self.backlog.remove(requests)
        for request in requests:
            if not request.result.cancel() and not request.result.cancelled():
                request.result.exception()  # asyncio complains about exceptions that nobody retrieves
        self._notify_listener()
        self._released.set()

    def _notify_listener(self) -> None:
        if self._listener is None:
            return
        if self.draining or not self.inferences:
            self._listener.refusals_invalid()
        else:
            self._listener.capacity_changed()

    def _observe_patience(self, request: InferenceRequest[Model], *, left: bool) -> None:
        if _may_leave(request.deadline):
            self.patience.observe(self._clock() - request.times.admitted, left=left)

    def _check(self, requests: Sequence[InferenceRequest[Model]], frames: int, deadline: Deadline) -> None:
        if deadline.admitted_before:
            self._check_pixels(requests, frames)
            return
        self._check_limits(requests, frames)
        if self.inferences:  # an idle service tries whatever comes: the prediction may be wrong
            others = self.backlog.predictions()
            self._check_time(requests, frames, others)
            self._check_others(requests, frames, others)

    def _check_limits(self, requests: Sequence[InferenceRequest[Model]], frames: int) -> None:
        limits, backlog = self._limits, self.backlog
        inferences = len(backlog.inferences) + frames * len(requests)
        self._check_limit("requests", backlog.client_requests + 1, limits.requests)
        self._check_limit("inference requests (frames times networks)", inferences, limits.inferences)
        self._check_pixels(requests, frames)

    def _check_pixels(self, requests: Sequence[InferenceRequest[Model]], frames: int) -> None:
        pixels = self.backlog.output_pixels + frames * sum(request.spec.output_pixels for request in requests)
        self._check_limit("output pixels", pixels, self._limits.pixels)

    def _check_limit(self, what: str, actual: int, accepted: int) -> None:
        """Raise Overloaded where there is more than fits.

        There is room when the excess share of everything admitted is done.
        """
        if actual > accepted:
            wait = max(1, math.ceil(self.backlog.seconds() * min(1.0, (actual - accepted) / actual)))
            detail = f"with this request {actual} {what} would be admitted, {accepted} are accepted; retry in {wait} s"
            raise Overloaded(detail, retry_after=wait)

    def _check_time(
        self, requests: Sequence[InferenceRequest[Model]], frames: int, others: Sequence[Prediction]
    ) -> None:
        """Raise Overloaded where the answer would come too late."""
        now, first = self._clock(), requests[0]
        needed = sum(self.backlog.forecast(requests, frames, others)) * SAFETY_FACTOR
        patience = self.patience.seconds() if _may_leave(first.deadline) else math.inf
        accepted = min(first.deadline.at - now, patience)
        if needed > accepted > 0:
            wait = max(1, math.ceil(needed - accepted))
            detail = f"the answer would take {needed:.1f} s, and there are {accepted:.1f} s for it; retry in {wait} s"
            raise Overloaded(detail, retry_after=wait)

    def _check_others(
        self, newcomers: Sequence[InferenceRequest[Model]], frames: int, others: Sequence[Prediction]
    ) -> None:
        """Raise Overloaded where more urgent newcomers would make something that is admitted miss its deadline.

        What would miss it anyway keeps nobody out.
        """
        now, due, ahead = self._clock(), min(request.due() for request in newcomers), 0.0
        added = frames * sum(request.work_seconds for request in newcomers) / self._lanes
        for other in sorted(others, key=lambda prediction: prediction.due):
            needed = ahead / self._lanes + other.minimum_seconds * SAFETY_FACTOR
            ahead += other.inferences * other.remaining_seconds
            slack = other.deadline - now - needed
            late = _first_late(slack, added, other.remaining_seconds / self._lanes, other.inferences)
            if other.waits and other.due > due and late is not None:
                wait = max(1, math.ceil(needed + late * other.remaining_seconds / self._lanes))
                detail = f"it would make an answer late that another client waits for; retry in {wait} s"
                raise Overloaded(detail, retry_after=wait)


def _may_leave(deadline: Deadline) -> bool:
    """Whether somebody waits who has not said how long."""
    return deadline.is_default and deadline.priority is Priority.INTERACTIVE


def _is_departure(error: BaseException) -> bool:
    """Whether a client has left."""
    cancelled = isinstance(error, asyncio.CancelledError) and error.args == (CLIENT_LEFT,)
    return cancelled or isinstance(error, ClientGone)


def _first_late(slack: float, added: float, step: float, count: int) -> int | None:
    """The first of `count` equal inference requests that `added` seconds would make late; None where there is none.

    The first has `slack` seconds left, each after it `step` fewer. What has fewer than none is late anyway.
    """
    first = 0 if slack < added else math.inf if step <= 0 else math.floor((slack - added) / step) + 1
    return int(first) if first < count and slack - first * step >= 0 else None
