"""Request coalescing: identical requests in flight are computed once."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from time import monotonic, perf_counter

from service.engine.deadline import Deadline
from service.engine.priority import Priority
from service.errors import DeadlineExceeded, Overloaded
from service.pipeline.fingerprint import request_fingerprint
from service.pipeline.pipeline import ImagePipeline
from service.pipeline.resolve import ResolvedRequest
from service.pipeline.result import EncodedImage, FinishedImage
from service.pipeline.trace import Trace
from service.telemetry.metrics import Metrics

INLINE_HASH_BYTES = 2**18
"""The size of an image up to which it is hashed on the event loop."""

EQUAL_DEADLINES = 0.1
"""Two deadlines count as equal that differ by less than this share of a request's timeout."""

Key = tuple[str, Priority]
"""Requests with the same key are identical. An interactive one does not wait for a bulk one."""


@dataclass(frozen=True)
class _Call:
    """A request, and what belongs to it."""

    key: Key
    request: ResolvedRequest
    image: bytes
    trace: Trace
    deadline: Deadline
    """As it was on arrival."""


@dataclass(eq=False)
class _SharedRun:
    """One run of the pipeline that several requests wait for."""

    task: asyncio.Task[EncodedImage]
    begun_by: _Call
    waiters: int = 0


class RequestCoalescer:
    """Runs requests through the pipeline. One that is identical to a running one waits for that instead.

    A client that leaves takes nothing from the others; the run is cancelled when the last one has left, with the
    message of that one's cancellation.
    """

    def __init__(self, pipeline: ImagePipeline, build: str, metrics: Metrics, *, coalesce: bool = True) -> None:
        """`build`: its fingerprint; see `build_fingerprint`."""
        self._pipeline = pipeline
        self._build = build
        self._metrics = metrics
        self._coalesce = coalesce
        self._running: dict[Key, _SharedRun] = {}

    async def run(self, request: ResolvedRequest, image: bytes, trace: Trace) -> FinishedImage:
        """The finished image, with the stages that this request went through. Raises as `ImagePipeline.run`."""
        trace.model, trace.version = request.model.name, request.model.manifest.version
        deadline = request.timeout.deadline()
        key = await self._key_of(request, image), request.timeout.priority
        encoded = await self._encoded(_Call(key, request, image, trace, deadline))
        trace.model, trace.version = encoded.models[0].name, encoded.models[0].manifest.version
        return FinishedImage.of(encoded, key[0], trace.durations)

    async def _key_of(self, request: ResolvedRequest, image: bytes) -> str:
        if len(image) < INLINE_HASH_BYTES:
            return request_fingerprint(request, image, self._build)
        return await asyncio.to_thread(request_fingerprint, request, image, self._build)

    async def _encoded(self, call: _Call) -> EncodedImage:
        if not self._coalesce or call.key not in self._running:
            return await self._compute(call)
        while shared := self._running.get(call.key):
            try:
                return await self._join(shared, call)
            except (DeadlineExceeded, Overloaded) as error:
                if not _may_fare_better(call, shared.begun_by, error):
                    raise
        call.trace.inferences = []  # those that it had were another one's
        async with _until(call):
            return await self._compute(call)

    async def _compute(self, call: _Call) -> EncodedImage:
        self._metrics.cache_requests.labels("miss").inc()
        return await self._wait(self._start(call))

    def _start(self, call: _Call) -> _SharedRun:
        shared = _SharedRun(asyncio.create_task(self._pipeline.run(call.request, call.image, call.trace)), call)
        self._running[call.key] = shared

        def ended(task: asyncio.Task[EncodedImage]) -> None:
            if self._running.get(call.key) is shared:
                del self._running[call.key]
            if not task.cancelled():
                task.exception()  # asyncio complains about exceptions that nobody retrieves

        shared.task.add_done_callback(ended)
        return shared

    async def _join(self, shared: _SharedRun, call: _Call) -> EncodedImage:
        self._metrics.cache_requests.labels("coalesced").inc()
        began = perf_counter()
        call.trace.inferences = shared.begun_by.trace.inferences
        try:
            async with _until(call):
                return await self._wait(shared)
        finally:
            call.trace.add({"shared": perf_counter() - began})

    async def _wait(self, shared: _SharedRun) -> EncodedImage:
        shared.waiters += 1
        try:
            await asyncio.wait((shared.task,))  # unlike `await task`, cancelling this does not cancel the task
            return shared.task.result()
        except asyncio.CancelledError as cancellation:
            if shared.waiters == 1 and not shared.task.done():
                self._forget(shared)
                shared.task.cancel(*cancellation.args)
                await asyncio.wait((shared.task,))
            raise
        finally:
            shared.waiters -= 1

    def _forget(self, shared: _SharedRun) -> None:
        """No later request joins a run that is being cancelled."""
        self._running = {key: other for key, other in self._running.items() if other is not shared}


@asynccontextmanager
async def _until(call: _Call) -> AsyncIterator[None]:
    """Raise DeadlineExceeded where the block has not ended when the call is given up."""
    try:
        async with asyncio.timeout(call.deadline.end - monotonic()):
            yield
    except TimeoutError as error:
        seconds = call.request.timeout.longest
        detail = f"the answer was not ready in {seconds:.12g} s; send a larger X-Request-Timeout"
        raise DeadlineExceeded(detail) from error


def _may_fare_better(call: _Call, failed: _Call, error: DeadlineExceeded | Overloaded) -> bool:
    """Whether a call has time left, and the one whose run it had joined was refused or given up for having less."""
    own, other = call.deadline, failed.deadline
    if monotonic() >= own.end:
        return False
    equal = EQUAL_DEADLINES * call.request.timeout.seconds
    if isinstance(error, DeadlineExceeded):
        return own.end > other.end + equal
    return own.at > other.at + equal or _rules(own) != _rules(other)


def _rules(deadline: Deadline) -> tuple[bool, bool]:
    """What admission looks at besides the time."""
    return deadline.is_default, deadline.admitted_before
