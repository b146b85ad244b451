"""Decides what runs next on the device. No HTTP, no torch.

The unit of work is the tile. There is no batch timer: whenever the device has room, the most urgent tile runs, together
with every other that fits; while the device is busy, batches therefore grow by themselves, and an idle device never
waits.
"""

import asyncio
import math
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from time import monotonic
from typing import Generic

from service.admission import RESERVE, Admission
from service.errors import DeadlineExceeded, DeviceLost, Draining
from service.jobs import Job, Model, Network, Priority
from service.metrics import Metrics
from service.photographs import Pixels
from service.tiling import Piece

Run = Callable[[Model, Sequence[Piece], bool], Awaitable[None]]
"""Runs one batch of planes of equal shape on the device, on all of its lanes or on one, and pastes the results."""

BULKY = 1
"""A job with more than so many tiles for each lane keeps off the last lane while small ones come."""

SMALL_TRAFFIC = 1.0
"""Seconds after a small job for which another one is expected."""


@dataclass(frozen=True)
class Lanes:
    """What the device does at the same time."""

    count: int
    """Passes that run side by side: parts of a processor's cores, or batches in flight on a GPU."""
    mergeable: bool
    """Whether a pass that is alone runs on all lanes at once, and faster."""


Entry = tuple[Job[Model], Piece]
"""A tile and whose it is."""


@dataclass(eq=False)
class Pass(Generic[Model]):
    """A batch on the device."""

    model: Model
    pieces: list[Entry[Model]]
    alone: bool
    bulky: bool

    @property
    def pixels(self) -> int:
        """Of its tiles' planes."""
        return sum(piece.tile.pixels for _, piece in self.pieces)


class Batcher(Generic[Model]):
    """One queue before one device."""

    def __init__(self, run: Run[Model], admission: Admission[Model], lanes: Lanes, metrics: Metrics) -> None:
        self._run = run
        self._admission = admission
        self._lanes = lanes
        self._metrics = metrics
        self._waiting: dict[Job[Model], None] = {}
        self._running: dict[asyncio.Task[None], Pass[Model]] = {}
        self._small_traffic = 0.0
        self._waking: asyncio.TimerHandle | None = None
        self._changed = asyncio.Event()
        metrics.queue_requests.set_function(lambda: len(self._waiting))
        metrics.queue_oldest_age.set_function(self.oldest_age)

    def oldest_age(self) -> float:
        """How long the first in the queue has waited."""
        return max((job.waited() for job in self._waiting), default=0.0)

    async def submit(self, job: Job[Model], image: Pixels) -> Pixels:
        """Queue an admitted job's image, (H, W, 3), and wait for its result. Cancelling the wait drops its tiles."""
        if job.result.done():  # drained while it was decoded
            return await job.result
        job.queue(image, self._admission.finish(job))
        self._waiting[job] = None
        self._changed.set()
        try:
            result = await job.result
        finally:
            self._waiting.pop(job, None)
        self._metrics.prediction_ratio.observe((job.promised - job.queued) / max(job.finished - job.queued, 1e-6))
        return result

    async def serve(self) -> None:
        """Run batches until cancelled. What fails, fails its jobs alone, and the loop goes on.

        Only DeviceLost ends it, when it has reached every waiter: no batch could run any more.
        """
        try:
            while True:
                await self._changed.wait()
                self._changed.clear()
                self._collect()
                while (batch := self._next()) is not None:
                    self._start(batch)
        finally:
            await self._stop()

    def _next(self) -> Pass[Model] | None:
        """The most urgent tile that may start now, and what fits to it; None where nothing may."""
        self._give_up_what_is_late()
        if len(self._running) >= self._lanes.count or any(running.alone for running in self._running.values()):
            return None
        urgent = sorted((job for job in self._waiting if job.tiles), key=Job.due)
        first = next((job for job in urgent if self._may_start(job)), None)
        if first is None and urgent:
            self._look_again()
        return self._batch(first, urgent) if first else None

    def _may_start(self, job: Job[Model]) -> bool:
        """Whether a lane is left for small jobs, which keep coming, or the job itself is one, or is due."""
        now = monotonic()
        if not self._bulky(job) or self._lanes.count == 1 or now > self._small_traffic or job.due() <= now:
            return True
        return sum(running.bulky for running in self._running.values()) < self._lanes.count - 1

    def _look_again(self) -> None:
        """When small jobs have stopped coming, for which a lane is kept now."""
        if self._waking is not None:
            self._waking.cancel()
        wait = max(0.0, self._small_traffic - monotonic())
        self._waking = asyncio.get_running_loop().call_later(wait, self._changed.set)

    def _bulky(self, job: Job[Model]) -> bool:
        return job.count > BULKY * self._lanes.count

    def _batch(self, first: Job[Model], urgent: Sequence[Job[Model]]) -> Pass[Model]:
        """One pass: the first job's next tile and, the most urgent first, as many of that shape as may share it."""
        shape, room = _shape(first), first.model.tiling.together(first.tiles[0])
        alone = self._lanes.mergeable and first.count == 1 and len(self._admission.jobs) == 1 and not self._running
        batch = Pass(first.model, [], alone, self._bulky(first))
        for job in [first, *urgent]:
            while len(batch.pieces) < room and job.tiles and job.model is first.model and _shape(job) == shape:
                batch.pieces.append((job, job.begin()))
            if not job.tiles:
                self._waiting.pop(job, None)
        seconds = batch.model.cost.seconds(*_computed(batch.model, batch.pieces), alone=alone)
        for job, piece in batch.pieces:
            job.expect(piece.tile, seconds, len(batch.pieces))
        return batch

    def _give_up_what_is_late(self) -> None:
        """What could not be done before its deadline never reaches the device; alone it may: that can be wrong."""
        now = monotonic()
        for job in list(self._waiting):
            least = 0.0 if len(self._admission.jobs) == 1 else job.least_seconds() * RESERVE
            if job.deadline <= now + least:
                self._waiting.pop(job)
                job.fail(DeadlineExceeded("the time for this request ran out while it waited for the device"))

    def _start(self, batch: Pass[Model]) -> None:
        name = batch.model.name
        self._metrics.batch_size.labels(name).observe(len(batch.pieces))
        self._metrics.batch_pixels.labels(name).observe(batch.pixels)
        task = asyncio.create_task(self._execute(batch, batch.pieces))
        self._running[task] = batch
        task.add_done_callback(lambda _: self._changed.set())

    async def _execute(self, batch: Pass[Model], pieces: Sequence[Entry[Model]]) -> None:
        """Run the pieces; a batch that fails is split until the culprit fails alone."""
        began = monotonic()
        try:
            await self._run(batch.model, [piece for _, piece in pieces], batch.alone)
        except DeviceLost:
            raise
        except Exception as error:  # noqa: BLE001 # whatever it is, it is the waiters' to know
            await self._split(batch, pieces, error)
        else:
            seconds = monotonic() - began
            pixels, passes = _computed(batch.model, pieces)
            batch.model.cost.measured(pixels, seconds, passes, alone=batch.alone)
            self._finished(batch, pieces, seconds)

    async def _split(self, batch: Pass[Model], pieces: Sequence[Entry[Model]], error: Exception) -> None:
        if len(pieces) == 1:
            job, piece = pieces[0]
            self._waiting.pop(job, None)
            job.fail(error)
            del job.running[piece.tile]
            return
        self._metrics.batches_bisected.labels(batch.model.name).inc()
        await self._execute(batch, pieces[: len(pieces) // 2])
        await self._execute(batch, pieces[len(pieces) // 2 :])

    def _finished(self, batch: Pass[Model], pieces: Sequence[Entry[Model]], seconds: float) -> None:
        share = seconds / len(pieces) / (1 if batch.alone else self._lanes.count)
        for job, piece in pieces:
            job.end(piece.tile, share)
            if job.abandoned:
                self._metrics.device_wasted.inc(share)
            if not self._bulky(job) and job.priority is Priority.INTERACTIVE:
                self._small_traffic = monotonic() + SMALL_TRAFFIC

    def _collect(self) -> None:
        """Free the lanes of what has ended; a lost device reaches every waiter, and ends the loop."""
        for task in [task for task in self._running if task.done()]:
            del self._running[task]
            error = task.exception()
            if isinstance(error, Exception):
                self._admission.close()
                for job in list(self._admission.jobs):
                    job.fail(error)
                raise error

    async def _stop(self) -> None:
        for task, batch in self._running.items():
            task.cancel()
            for job, _ in batch.pieces:
                job.fail(Draining())
        for task in self._running:
            with suppress(asyncio.CancelledError, Exception):
                await task


def _computed(model: Network, pieces: Sequence[Entry[Model]]) -> tuple[int, int]:
    """Pixels and passes that planes of one shape take: each its own pass, or all of them one that is filled up."""
    tile = pieces[0][1].tile
    full = model.tiling.full(tile)
    passes = math.ceil(len(pieces) / full)
    return passes * full * tile.pixels, passes


def _shape(job: Job[Model]) -> tuple[int, int]:
    return job.tiles[0].plane_height, job.tiles[0].plane_width
