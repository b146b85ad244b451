"""Admission control: which requests are taken on. One that cannot be answered in time is refused before it costs much.

No HTTP: a refusal is an exception.
"""

import asyncio
import math
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from time import monotonic
from typing import Generic, Protocol

from service.engine.inference_request import DuePolicy, InferenceRequest, InferenceSpec, Model, Priority
from service.errors import ClientGone, Draining, Overloaded
from service.telemetry.metrics import Metrics

RESERVE = 1.25
"""A request is admitted if it would be done in time even if it took so many times the prediction."""


@dataclass(frozen=True)
class QueueLimits:
    """The most work that is admitted at a time."""

    requests: int
    """Requests of clients, each with one inference request or several."""
    pixels: int
    """Output pixels of all of them, to which their memory is proportional."""


class CapacityListener(Protocol):
    """Is told when an earlier refusal may no longer hold."""

    def capacity_changed(self) -> None:
        """A request was admitted or answered: one more may be admitted now."""

    def refusals_invalid(self) -> None:
        """Nothing is admitted, or the service is stopping: no earlier refusal holds."""


class Patience:
    """How long clients that name no timeout wait before they leave, estimated from those of the last minutes.

    Where nearly all of them leave at some age, work that would end later is wasted. Clients that were answered count as
    present until then (the estimator of Kaplan and Meier, 1958), so that a few impatient ones decide nothing.
    """

    CAPACITY = 1024
    """Clients that are remembered at most."""
    PRESENT = 0.2
    """Clients are taken to have left at the age that fewer than this share reach."""
    FEWEST_SEEN = 3
    """Clients that must have been seen at an age before it counts."""

    def __init__(self, window_seconds: float = 300.0, clock: Callable[[], float] = monotonic) -> None:
        """A client is remembered for `window_seconds`.

        Patience is learned from clients that leave, and hardly any do once it is known: with a short window it would be
        forgotten, and a full device would have to learn it again.
        """
        self._window = window_seconds
        self._clock = clock
        self._seen: deque[tuple[float, float, bool]] = deque(maxlen=self.CAPACITY)

    def observe(self, waited: float, *, left: bool) -> None:
        """A client has left, or has been answered, after so many seconds."""
        self._seen.append((self._clock(), waited, left))

    def seconds(self) -> float:
        """The age that few clients reach; infinite where none is known."""
        since = self._clock() - self._window
        recent = sorted((waited, left) for at, waited, left in self._seen if at > since)
        present = 1.0
        for there, (waited, left) in zip(range(len(recent), self.FEWEST_SEEN - 1, -1), recent, strict=False):
            present *= 1 - left / there
            if present < self.PRESENT:
                return waited
        return math.inf


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
        policy: DuePolicy | None = None,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        """`lanes`: batches that run side by side on the device."""
        self._limits = limits
        self._lanes = lanes
        self._metrics = metrics
        self._listener = listener
        self._policy = policy
        self._clock = clock
        self.patience = patience or Patience()
        self.inferences: dict[InferenceRequest[Model], None] = {}
        """The inference requests that are admitted and not answered yet."""
        self.draining = False
        """Whether nothing is admitted any more; see `close`."""
        self._client_requests = 0
        self._released = asyncio.Event()
        metrics.admitted_requests.set_function(lambda: self._client_requests)
        metrics.admitted_pixels.set_function(self.output_pixels)
        metrics.backlog.set_function(self.backlog_seconds)

    def output_pixels(self) -> int:
        """Output pixels of everything admitted."""
        return sum(request.spec.output_pixels for request in self.inferences)

    def backlog_seconds(self) -> float:
        """Predicted seconds until everything admitted is done."""
        now = self._clock()
        return sum(request.remaining_seconds(now) for request in self.inferences) / self._lanes

    def predicted_finish(self, *requests: InferenceRequest[Model]) -> float:
        """When all of these will be finished, given what is admitted and more urgent (`time.monotonic`)."""
        return self._clock() + sum(self.forecast(*requests))

    def forecast(self, *requests: InferenceRequest[Model]) -> tuple[float, float]:
        """Predicted seconds of what is admitted and due before a client's requests, and of the requests themselves."""
        now, due = self._clock(), max(request.due() for request in requests)
        others = [other for other in self.inferences if other not in requests]
        ahead = sum(other.remaining_seconds(now) for other in others if other.due() <= due)
        exclusive = not others and sum(request.tile_count for request in requests) == 1
        longest = max(request.minimum_seconds(exclusive=exclusive) for request in requests)
        shared = 0.0 if exclusive else sum(request.waiting_seconds for request in requests) / self._lanes
        return ahead / self._lanes, max(longest, shared)

    def new_requests(
        self, specs: Sequence[InferenceSpec[Model]], deadline: float, priority: Priority, *, default_timeout: bool
    ) -> list[InferenceRequest[Model]]:
        """Inference requests for the images of one client, neither checked nor admitted."""
        default_timeout = default_timeout and priority is Priority.INTERACTIVE
        return [
            InferenceRequest(
                spec,
                deadline,
                priority,
                self._lanes,
                default_timeout=default_timeout,
                policy=self._policy,
                clock=self._clock,
            )
            for spec in specs
        ]

    def check(
        self,
        specs: Sequence[InferenceSpec[Model]],
        deadline: float,
        priority: Priority = Priority.INTERACTIVE,
        *,
        default_timeout: bool = False,
    ) -> list[InferenceRequest[Model]]:
        """Inference requests for the images of one client that could be admitted now.

        Raises Draining, or Overloaded where they could not.
        """
        if self.draining:
            raise Draining
        requests = self.new_requests(specs, deadline, priority, default_timeout=default_timeout)
        try:
            self._check(requests)
        except Overloaded as refusal:
            refusal.pixels = sum(spec.height * spec.width for spec in specs)
            raise
        return requests

    @contextmanager
    def admit(
        self,
        specs: Sequence[InferenceSpec[Model]],
        deadline: float,
        priority: Priority = Priority.INTERACTIVE,
        *,
        default_timeout: bool = False,
    ) -> Iterator[list[InferenceRequest[Model]]]:
        """Admit the images of one client, all or none, from before they are decoded until the answer is encoded.

        The block gets an inference request for each of them, in order; leaving it releases their capacity. `deadline`
        is a time of `time.monotonic`, `default_timeout` says that the client has not named it. Raises Draining, or
        Overloaded with the seconds until there is room.
        """
        requests = self.check(specs, deadline, priority, default_timeout=default_timeout)
        self.inferences |= dict.fromkeys(requests)
        self._client_requests += 1
        self._notify_listener()
        try:
            yield requests
            self._observe_patience(requests[0], left=False)
        except BaseException as error:
            self._abandon(requests)
            if isinstance(error, ClientGone | asyncio.CancelledError):  # a client that leaves cancels its work
                self._observe_patience(requests[0], left=True)
            raise
        finally:
            self._release(requests)

    def close(self) -> None:
        """Admit nothing more. Whoever comes is told that the service stops, not that it is full."""
        self.draining = True
        self._notify_listener()

    async def drain(self, seconds: float) -> None:
        """Admit nothing more, wait so long for what was admitted, and answer the rest with Draining."""
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
            self._metrics.device_wasted.inc(request.device_seconds)

    def _release(self, requests: Sequence[InferenceRequest[Model]]) -> None:
        self._client_requests -= 1
        for request in requests:
            del self.inferences[request]
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
        if request.default_timeout:
            self.patience.observe(self._clock() - request.times.admitted, left=left)

    def _check(self, requests: Sequence[InferenceRequest[Model]]) -> None:
        limits = self._limits
        pixels = self.output_pixels() + sum(request.spec.output_pixels for request in requests)
        if self._client_requests >= limits.requests:
            raise self._overloaded("requests", self._client_requests + 1, limits.requests)
        if pixels > limits.pixels:
            raise self._overloaded("output pixels", pixels, limits.pixels)
        if self.inferences:  # an idle service tries whatever comes: the prediction may be wrong
            self._check_time(requests)
            self._check_others(requests)

    def _check_time(self, requests: Sequence[InferenceRequest[Model]]) -> None:
        """Raise Overloaded where the answer would come too late."""
        now, first = self._clock(), requests[0]
        needed = (self.predicted_finish(*requests) - now) * RESERVE
        accepted = min(first.deadline - now, self.patience.seconds() if first.default_timeout else math.inf)
        if needed > accepted > 0:
            wait = max(1, math.ceil(needed - accepted))
            detail = f"the answer would take {needed:.1f} s, and there are {accepted:.1f} s for it; retry in {wait} s"
            raise Overloaded(detail, retry_after=wait)

    def _check_others(self, newcomers: Sequence[InferenceRequest[Model]]) -> None:
        """Raise Overloaded where more urgent newcomers would make something that is admitted miss its deadline.

        What would miss it anyway keeps nobody out.
        """
        now, due, ahead = self._clock(), min(request.due() for request in newcomers), 0.0
        added = sum(request.work_seconds for request in newcomers) / self._lanes
        for other in sorted(self.inferences, key=InferenceRequest.due):
            needed = ahead / self._lanes + other.minimum_seconds() * RESERVE
            ahead += other.remaining_seconds(now)
            slack = other.deadline - now - needed
            if other.waiting_tiles and other.due() > due and 0 <= slack < added:
                wait = max(1, math.ceil(needed))
                detail = f"it would make an answer late that another client waits for; retry in {wait} s"
                raise Overloaded(detail, retry_after=wait)

    def _overloaded(self, what: str, actual: int, accepted: int) -> Overloaded:
        """The refusal of more than fits; there is room when the excess share of everything admitted is done."""
        share = min(1.0, (actual - accepted) / actual)
        wait = max(1, math.ceil(self.backlog_seconds() * share))
        detail = f"with this request {actual} {what} would be admitted, {accepted} are accepted; retry in {wait} s"
        return Overloaded(detail, retry_after=wait)
