"""Decides which tiles run next on the device. Imports no HTTP library.

The unit of work is the tile, as a token is in a language-model server. There is no batch timer: when a lane is
free, the most urgent tile that may start runs, with the waiting tiles that fit into its batch. The only lane kept free
on purpose is the one that large requests leave to small ones that are expected (`Scheduler`).
"""

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable, Collection, Iterator, Sequence
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    AsyncExitStack,
    ExitStack,
    contextmanager,
    nullcontext,
    suppress,
)
from dataclasses import dataclass, replace
from time import monotonic
from typing import Generic

from service.engine.admission import Admission
from service.engine.inference_request import InferenceRequest
from service.engine.inference_spec import EngineModel, Model
from service.engine.priority import Priority
from service.engine.request_queue import RequestQueue, shape_of_next_tile
from service.engine.tiling import ImageTile
from service.errors import DeadlineExceeded, DeviceLost, Draining
from service.imaging.pixels import Pixels
from service.telemetry.metrics import Metrics

logger = logging.getLogger(__name__)

RunBatch = Callable[[Model, Sequence[ImageTile], bool], Awaitable[None]]
"""Runs one batch of tiles whose planes have one shape, exclusively or on one lane, and pastes the results."""

HoldWeights = Callable[[Model], AbstractAsyncContextManager[None]]
"""For the length of the block the weights of a model are on the device; waits until they are."""

KeepWeights = Callable[[Model], AbstractContextManager[None]]
"""For the length of the block the weights of a model, which are held, stay on the device, whoever leaves."""


@dataclass(frozen=True)
class Concurrency:
    """What the devices do at the same time."""

    lanes: int
    """Batches that run side by side: each on a part of a processor's cores, or in flight on a GPU."""
    exclusive_batches: bool
    """Whether a batch can have all lanes at once, and is faster then: an exclusive batch."""
    devices: int = 1
    """That have these lanes, each as many."""


NEAR_SECONDS = 0.1
"""How long after its admission, or after its last tile, a request makes a tile likely: its own once it is decoded, or
that of its client's next request. One that takes longer to decode or to encode does not."""

MOST_DISTANT = 16
"""The most inference requests that are looked at; of more, a tile is always likely."""

BatchItem = tuple[InferenceRequest[Model], ImageTile]
"""A tile and the request that it belongs to."""


@dataclass(eq=False)
class Batch(Generic[Model]):
    """A batch on the device."""

    model: Model
    items: list[BatchItem[Model]]
    exclusive: bool
    large: bool
    """Whether it belongs to a large request; see `Scheduler`."""

    @property
    def pixels(self) -> int:
        """Pixels of its planes."""
        return sum(image_tile.tile.pixels for _, image_tile in self.items)


class Scheduler(Generic[Model]):
    """One queue in front of one device, or of several equal ones.

    A request with more tiles than there are lanes is large. While small ones keep coming, large ones leave one
    lane free for them.
    """

    def __init__(
        self,
        run: RunBatch[Model],
        admission: Admission[Model],
        concurrency: Concurrency,
        metrics: Metrics,
        *,
        small_request_seconds: float = 1.0,
        hold_weights: HoldWeights[Model] = lambda _: nullcontext(),
        keep_weights: KeepWeights[Model] = lambda _: nullcontext(),
        clock: Callable[[], float] = monotonic,
    ) -> None:
        """After a small request, another one is expected for `small_request_seconds`."""
        self._hold_weights = hold_weights
        self._keep_weights = keep_weights
        self._run = run
        self._admission = admission
        self._concurrency = concurrency
        self._lanes_of_device = concurrency.lanes // concurrency.devices
        self._metrics = metrics
        self._small_request_seconds = small_request_seconds
        self._clock = clock
        self._queue: RequestQueue[Model] = RequestQueue(concurrency.lanes)
        self._running: dict[asyncio.Task[None], Batch[Model]] = {}
        self._small_until = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._changed = asyncio.Event()
        metrics.queue_requests.set_function(lambda: len(self._queue))
        metrics.queue_oldest_age.set_function(self.oldest_age)

    def oldest_age(self) -> float:
        """Seconds that the oldest request in the queue has waited, 0 where there is none."""
        now = self._clock()
        return max((request.times.queue_seconds(now) for request in self._queue), default=0.0)

    def use_lanes(self, lanes: int) -> None:
        """So many batches run side by side from now on, 1 or more: fewer, where one of several devices was lost."""
        if lanes != self._concurrency.lanes:
            self._concurrency = replace(self._concurrency, lanes=lanes)
            self._admission.use_lanes(lanes)
            self._queue.use_lanes(lanes)

    async def submit(self, request: InferenceRequest[Model], image: Pixels) -> Pixels:
        """Queue the image of an admitted request, (H, W, 3), and wait for its result.

        Cancelling the wait drops its tiles. Raises whatever made it fail.
        """
        if request.result.done():  # it was drained while it was decoded
            return await request.result
        request.enqueue(image, self._admission.predicted_finish(request))
        with self._admission.backlog.queued(request):
            result = await self._result_on_device(request)
        predicted, times = request.predicted_finish, request.times
        self._metrics.prediction_ratio.observe((predicted - times.queued) / max(times.finished - times.queued, 1e-6))
        return result

    async def _result_on_device(self, request: InferenceRequest[Model]) -> Pixels:
        """The request waits for the weights of its model before it is queued, until it is given up; others go on."""
        waiting = asyncio.timeout(max(0.0, request.deadline.end - self._clock()))
        try:
            async with waiting, AsyncExitStack() as held:
                with _ended_by(request.result, waiting):
                    await held.enter_async_context(self._hold_weights(request.model))
                waiting.reschedule(None)
                return await self._queued_result(request)
        except TimeoutError:
            if not waiting.expired():
                raise
            if request.result.done():  # it was drained while its model was loaded
                return await request.result
            raise DeadlineExceeded("the time for this request ran out while its model was loaded") from None

    async def _queued_result(self, request: InferenceRequest[Model]) -> Pixels:
        if request.result.done():  # it was drained when its model was loaded
            return await request.result
        self._queue.add(request)
        self._changed.set()
        try:
            return await request.result
        finally:
            self._queue.discard(request)

    async def serve(self) -> None:
        """Run batches until cancelled. A batch that fails takes only its own requests with it.

        Ends by itself only with DeviceLost, where no device is left, after that has reached every waiting client.
        """
        try:
            while True:
                await self._changed.wait()
                self._changed.clear()
                self._collect()
                while (batch := self._next_batch()) is not None:
                    self._start(batch)
        finally:
            await self._stop()

    def _next_batch(self) -> Batch[Model] | None:
        """What `_schedule` gives. A fault of ours in it fails whatever is queued, and the loop goes on."""
        try:
            return self._schedule()
        except Exception as error:
            logger.exception("the scheduler failed")
            self._fail([request for request in self._admission.inferences if request.times.queued], error)
            return None

    def _schedule(self) -> Batch[Model] | None:
        """The most urgent tile that may start now, with what fits into its batch; None where nothing may start."""
        self._queue.renew_oldest()
        self._give_up_late()
        busy = len(self._running) >= self._concurrency.lanes
        if busy or any(running.exclusive for running in self._running.values()):
            return None
        first = self._queue.most_urgent()
        if first is not None and not self._may_start(first):  # nor may any other large request
            self._wake_when_small_requests_end()
            first = self._queue.most_urgent_small()
        return self._fill_batch(first) if first else None

    def _may_start(self, request: InferenceRequest[Model]) -> bool:
        """Whether the request is small or due, or a lane is left for small requests, or none are expected."""
        now, lanes = self._clock(), self._concurrency.lanes
        if not self._queue.is_large(request) or lanes == 1 or now > self._small_until or request.due() <= now:
            return True
        return sum(running.large for running in self._running.values()) < lanes - 1

    def _wake_when_small_requests_end(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        wait = max(0.0, self._small_until - self._clock())
        self._timer = asyncio.get_running_loop().call_later(wait, self._changed.set)

    def _fill_batch(self, first: InferenceRequest[Model]) -> Batch[Model]:
        """A batch of the first request's next tile and, most urgent first, of others of its model and shape."""
        shape, room = shape_of_next_tile(first), first.model.tiling.max_batch(first.waiting_tiles[0])
        batch = Batch(first.model, [], self._runs_exclusively(first), self._queue.is_large(first))
        request: InferenceRequest[Model] | None = first
        while request is not None and len(batch.items) < room:
            while len(batch.items) < room and request.waiting_tiles and shape_of_next_tile(request) == shape:
                batch.items.append((request, request.start_tile()))
            self._queue.renew(request)
            request = self._queue.most_urgent_of(shape)
        return batch

    def _runs_exclusively(self, request: InferenceRequest[Model]) -> bool:
        """Whether a single tile may have all lanes: nothing else is on the device, in the queue or near."""
        if not self._concurrency.exclusive_batches or request.tile_count > 1 or self._running:
            return False
        admitted, now = self._admission.inferences, self._clock()
        few = len(admitted) <= MOST_DISTANT
        return few and not any(self._is_near(each, request, now) for each in admitted)

    def _is_near(self, other: InferenceRequest[Model], request: InferenceRequest[Model], now: float) -> bool:
        """Whether tiles of another request wait beside this one, or are to be expected soon.

        Not of the same answer: the next network of a chain waits for this one's result.
        """
        if other in self._queue:
            return other is not request
        is_recent = now - (other.times.finished or other.times.admitted) < NEAR_SECONDS
        return is_recent and other.group is not request.group

    def _give_up_late(self) -> None:
        """Fail what cannot be done before it is given up. A lone request is tried: the prediction may be wrong."""
        now = self._clock()
        if len(self._admission.inferences) == 1:
            late = [request for request in self._queue if request.deadline.end <= now]
        else:
            late = list(self._queue.pop_late(now))
        for request in late:
            self._queue.discard(request)
            request.fail(DeadlineExceeded("the time for this request ran out while it waited for the device"))

    def _start(self, batch: Batch[Model]) -> None:
        name = batch.model.name
        self._metrics.batch_size.labels(name).observe(len(batch.items))
        self._metrics.batch_pixels.labels(name).observe(batch.pixels)
        kept = ExitStack()
        kept.enter_context(self._keep_weights(batch.model))  # its clients may leave while it runs
        task = asyncio.create_task(self._run_batch(batch))
        self._running[task] = batch
        task.add_done_callback(lambda _: kept.close())
        task.add_done_callback(lambda _: self._changed.set())

    async def _run_batch(self, batch: Batch[Model]) -> None:
        """Predict the end of a batch, and run it."""
        computed = _computed(batch.model, batch.items)
        seconds = batch.model.cost_model.seconds(*computed, exclusive=batch.exclusive)
        for request, image_tile in batch.items:
            request.expect_end(image_tile.tile, seconds, len(batch.items))
        await self._execute(batch, batch.items)

    async def _execute(self, batch: Batch[Model], items: Sequence[BatchItem[Model]]) -> None:
        """Run these tiles of a batch. Where that fails they are bisected, until the faulty tile fails alone."""
        began = self._clock()
        try:
            await self._run(batch.model, [image_tile for _, image_tile in items], batch.exclusive)
        except DeviceLost:
            raise
        except Exception as error:  # noqa: BLE001 # of whatever kind, it goes to the clients concerned
            await self._bisect(batch, items, error)
        else:
            seconds = self._clock() - began
            pixels, batches = _computed(batch.model, items)
            batch.model.cost_model.update(pixels, seconds, batches, exclusive=batch.exclusive)
            self._finish(batch, items, seconds)

    async def _bisect(self, batch: Batch[Model], items: Sequence[BatchItem[Model]], error: Exception) -> None:
        if len(items) == 1:
            request, image_tile = items[0]
            self._queue.discard(request)
            request.fail_tile(image_tile.tile, error)
            return
        self._metrics.batches_bisected.labels(batch.model.name).inc()
        await self._execute(batch, items[: len(items) // 2])
        await self._execute(batch, items[len(items) // 2 :])

    def _finish(self, batch: Batch[Model], items: Sequence[BatchItem[Model]], seconds: float) -> None:
        share = seconds / len(items) / (1 if batch.exclusive else self._lanes_of_device)
        for request, image_tile in items:
            request.finish_tile(image_tile.tile, share)
            if request.abandoned:
                self._metrics.device_wasted.inc(share)
            if not self._queue.is_large(request) and request.deadline.priority is Priority.INTERACTIVE:
                self._small_until = self._clock() + self._small_request_seconds

    def _collect(self) -> None:
        """Free the lanes of finished batches. A lost device fails every waiting client and ends the loop.

        Any other exception of the task itself is a fault of ours: it fails the requests of its batch alone.
        """
        for task in [task for task in self._running if task.done()]:
            batch, error = self._running.pop(task), _failure(task)
            if isinstance(error, DeviceLost):
                self._admission.close()
                for request in list(self._admission.inferences):
                    request.fail(error)
                raise error
            if error is not None:
                logger.error("a batch of %s ended unexpectedly", batch.model.name, exc_info=error)
                self._fail({request for request, _ in batch.items}, error)

    def _fail(self, requests: Collection[InferenceRequest[Model]], error: BaseException) -> None:
        """Fail requests, and let no further tile of them start."""
        for request in requests:
            self._queue.discard(request)
            request.fail(error)

    async def _stop(self) -> None:
        for task, batch in self._running.items():
            task.cancel()
            for request, _ in batch.items:
                request.fail(Draining())
        for task in self._running:
            with suppress(asyncio.CancelledError, Exception):
                await task


@contextmanager
def _ended_by(result: asyncio.Future[Pixels], waiting: asyncio.Timeout) -> Iterator[None]:
    """A wait in the block ends as soon as there is a result: that of a request which was drained is an exception."""

    def end(_: object) -> None:
        with suppress(RuntimeError):  # the wait is over
            waiting.reschedule(0.0)

    result.add_done_callback(end)
    try:
        yield
    finally:
        result.remove_done_callback(end)


def _computed(model: EngineModel, items: Sequence[BatchItem[Model]]) -> tuple[int, int]:
    """Pixels and batches that the device computes for tiles of one shape: a fixed batch is padded to its full size."""
    tile = items[0][1].tile
    size = model.tiling.fixed_batch(tile)
    batches = math.ceil(len(items) / size)
    return batches * size * tile.pixels, batches


def _failure(task: asyncio.Task[None]) -> BaseException | None:
    """Why a task that is done has failed. One that was cancelled is no reason to end those that look at it."""
    return RuntimeError("the batch was cancelled on the device") if task.cancelled() else task.exception()
