"""Request coalescing: identical requests in flight are computed once."""

import asyncio
from dataclasses import dataclass
from time import monotonic, perf_counter

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

Key = tuple[str, Priority]
"""Requests with the same key are identical. An interactive one does not wait for a bulk one."""


@dataclass(eq=False)
class _SharedRun:
    """One run of the pipeline that several requests wait for."""

    task: asyncio.Task[EncodedImage]
    trace: Trace
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
        key = await self._key_of(request, image), request.timeout.priority
        encoded = await self._encoded(key, request, image, trace)
        trace.model, trace.version = encoded.models[0].name, encoded.models[0].manifest.version
        return FinishedImage.of(encoded, key[0], trace.durations)

    async def _key_of(self, request: ResolvedRequest, image: bytes) -> str:
        if len(image) < INLINE_HASH_BYTES:
            return request_fingerprint(request, image, self._build)
        return await asyncio.to_thread(request_fingerprint, request, image, self._build)

    async def _encoded(self, key: Key, request: ResolvedRequest, image: bytes, trace: Trace) -> EncodedImage:
        shared = self._running.get(key) if self._coalesce else None
        if shared is None:
            self._metrics.cache_requests.labels("miss").inc()
            return await self._wait(self._start(key, request, image, trace))
        self._metrics.cache_requests.labels("coalesced").inc()
        try:
            return await self._join(shared, request, trace)
        except (DeadlineExceeded, Overloaded):
            if monotonic() >= request.timeout.deadline().end:
                raise
        return await self._encoded(key, request, image, trace)  # the run had an earlier deadline than this request

    def _start(self, key: Key, request: ResolvedRequest, image: bytes, trace: Trace) -> _SharedRun:
        shared = _SharedRun(asyncio.create_task(self._pipeline.run(request, image, trace)), trace)
        self._running[key] = shared

        def ended(task: asyncio.Task[EncodedImage]) -> None:
            if self._running.get(key) is shared:
                del self._running[key]
            if not task.cancelled():
                task.exception()  # asyncio complains about exceptions that nobody retrieves

        shared.task.add_done_callback(ended)
        return shared

    async def _join(self, shared: _SharedRun, request: ResolvedRequest, trace: Trace) -> EncodedImage:
        began = perf_counter()
        trace.inferences = shared.trace.inferences
        try:
            async with asyncio.timeout(request.timeout.deadline().end - monotonic()):
                return await self._wait(shared)
        except TimeoutError as error:
            seconds = request.timeout.longest
            detail = f"the answer was not ready in {seconds:g} s; send a larger X-Request-Timeout"
            raise DeadlineExceeded(detail) from error
        finally:
            trace.add({"shared": perf_counter() - began})

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
