"""Identical orders in flight are carried out once."""

import asyncio
from dataclasses import dataclass
from time import monotonic, perf_counter

from service.errors import DeadlineExceeded, Overloaded
from service.identity import identity
from service.jobs import Priority
from service.metrics import Metrics
from service.orders import Answer, Order
from service.results import Painting
from service.studio import Studio
from service.trace import Trace

LARGE = 2**18
"""Bytes from which hashing them would keep other requests waiting."""

Key = tuple[str, Priority]
"""What makes orders identical. Urgent ones do not wait for those that are put off."""


@dataclass(eq=False)
class _Shared:
    """Work that several requests wait for."""

    task: asyncio.Task[Answer]
    trace: Trace
    waiting: int = 0


class SharedStudio:
    """Carries out orders like the studio. One that is being carried out already is waited for instead.

    A request that leaves takes nothing from the others; the work ends when the last one has left.
    """

    def __init__(self, studio: Studio, made_with: str, metrics: Metrics, *, coalesce: bool = True) -> None:
        self._studio = studio
        self._made_with = made_with
        self._metrics = metrics
        self._coalesce = coalesce
        self._running: dict[Key, _Shared] = {}

    async def paint(self, order: Order, data: bytes, trace: Trace) -> Painting:
        """The painting, with the stages that this request went through; raises as the studio does."""
        trace.model, trace.version = order.model.name, order.model.manifest.version
        key = await self._identity(order, data), order.terms.priority
        answer = await self._answer(key, order, data, trace)
        return Painting.of(answer, f'"{key[0]}"', trace.durations)

    async def _identity(self, order: Order, data: bytes) -> str:
        if len(data) < LARGE:
            return identity(order, data, self._made_with)
        return await asyncio.to_thread(identity, order, data, self._made_with)

    async def _answer(self, key: Key, order: Order, data: bytes, trace: Trace) -> Answer:
        shared = self._running.get(key) if self._coalesce else None
        if shared is None:
            self._metrics.cache_requests.labels("miss").inc()
            return await self._wait(self._start(key, order, data, trace))
        self._metrics.cache_requests.labels("coalesced").inc()
        try:
            return await self._joined(shared, order, trace)
        except (DeadlineExceeded, Overloaded):
            if monotonic() >= order.terms.deadline():
                raise
        return await self._answer(key, order, data, trace)  # the other one had less time than this one has

    def _start(self, key: Key, order: Order, data: bytes, trace: Trace) -> _Shared:
        shared = _Shared(asyncio.create_task(self._studio.paint(order, data, trace)), trace)
        self._running[key] = shared

        def ended(task: asyncio.Task[Answer]) -> None:
            if self._running.get(key) is shared:
                del self._running[key]
            if not task.cancelled():
                task.exception()  # seen, though nobody may wait any more

        shared.task.add_done_callback(ended)
        return shared

    async def _joined(self, shared: _Shared, order: Order, trace: Trace) -> Answer:
        began, seconds = perf_counter(), order.terms.deadline() - monotonic()
        trace.jobs = shared.trace.jobs
        try:
            async with asyncio.timeout(seconds):
                return await self._wait(shared)
        except TimeoutError as error:
            raise DeadlineExceeded(f"the answer was not ready in {seconds:.3g} s; give it a larger one") from error
        finally:
            trace.durations["shared"] = perf_counter() - began

    async def _wait(self, shared: _Shared) -> Answer:
        shared.waiting += 1
        try:
            await asyncio.wait((shared.task,))  # which leaves the task alone where this wait is cancelled
            return shared.task.result()
        finally:
            shared.waiting -= 1
            if not shared.waiting and not shared.task.done():
                self._forget(shared)
                shared.task.cancel()
                await asyncio.wait((shared.task,))

    def _forget(self, shared: _Shared) -> None:
        """Nobody joins what is being cancelled."""
        self._running = {key: other for key, other in self._running.items() if other is not shared}
