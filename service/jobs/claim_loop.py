"""Claims work from the job store and carries it out, some at a time."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Generic, TypeVar

from service.errors import JobsUnavailable
from service.jobs.signal import Signal
from service.jobs.store import RETRY_SECONDS

STOP_SECONDS = 5.0
"""How long a stop waits for a store that does not answer."""

Claim = TypeVar("Claim")

logger = logging.getLogger(__name__)


class ClaimLoop(Generic[Claim]):
    """Carries out at most `most` claims at the same time. Work that nobody claims here stays in the store."""

    def __init__(
        self,
        most: int,
        claim: Callable[[], Awaitable[Claim | None]],
        carry_out: Callable[[Claim], Awaitable[None]],
        give_back: Callable[[Claim], Awaitable[None]],
        pause: Callable[[], float | None],
    ) -> None:
        """`pause`: seconds until it is worth while to claim again, unless `wake` is called; None: only then."""
        self._claim = claim
        self._carry_out = carry_out
        self._give_back = give_back
        self._pause = pause
        self._slots = asyncio.Semaphore(most)
        self._signal = Signal()
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop: asyncio.Task[None] | None = None
        self._closed = asyncio.Event()

    def start(self) -> None:
        """Begin to claim."""
        self._loop = asyncio.create_task(self._serve())

    def wake(self) -> None:
        """There may be something to claim."""
        self._signal.notify()

    def close(self) -> None:
        """Claim nothing more; what is claimed is carried out."""
        self._closed.set()
        self._signal.notify()

    async def stop(self) -> None:
        """Cancel what is being carried out, and return when that has ended."""
        self.close()
        await asyncio.sleep(0)  # a task that was cancelled before it began could not give its claim back
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._loop is not None:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._loop, STOP_SECONDS)

    async def _serve(self) -> None:
        while True:
            await self._slots.acquire()
            claim = await self._next()
            if claim is None:
                return
            task = asyncio.create_task(self._end(claim))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _end(self, claim: Claim) -> None:
        try:
            await self._carry_out(claim)
        except Exception:
            logger.exception("a job, or its webhook, was not carried out")
        finally:
            self._slots.release()
            self._signal.notify()  # it may be due again

    async def _next(self) -> Claim | None:
        """The next claim; None when the loop is closed."""
        while not self._closed.is_set():
            changed = self._signal.listen()
            try:
                claim, pause = await self._claim(), self._pause()
            except JobsUnavailable:
                claim, pause = None, RETRY_SECONDS
            except Exception:
                logger.exception("the job store cannot be asked for work")
                claim, pause = None, RETRY_SECONDS
            if claim is None:
                await changed.wait(pause)
            elif not self._closed.is_set():
                return claim
            else:
                await self._give_back_if_possible(claim)
        return None

    async def _give_back_if_possible(self, claim: Claim) -> None:
        """Where the store is away, the claim expires."""
        try:
            await self._give_back(claim)
        except JobsUnavailable:
            pass
        except Exception:
            logger.exception("what was claimed last cannot be given back")
