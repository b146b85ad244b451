"""How many tasks run at the same time: a fixed number, one of them kept for small tasks."""

import asyncio
from collections import deque
from itertools import count
from typing import NamedTuple


class _Waiter(NamedTuple):
    number: int
    """In order of arrival."""
    ready: asyncio.Future[None]


class Slots:
    """Slots are taken in order of arrival. Large tasks leave one of several slots to small ones."""

    def __init__(self, total: int) -> None:
        self._free = total
        self._free_for_large = max(1, total - 1)
        self._numbers = count()
        self._small: deque[_Waiter] = deque()
        self._large: deque[_Waiter] = deque()

    @property
    def waiting(self) -> int:
        """The tasks that have no slot yet."""
        return len(self._small) + len(self._large)

    async def acquire(self, *, is_small: bool) -> None:
        """Wait for a slot, and take it."""
        waiter = _Waiter(next(self._numbers), asyncio.get_running_loop().create_future())
        queue = self._small if is_small else self._large
        queue.append(waiter)
        self._fill()
        try:
            await waiter.ready
        except asyncio.CancelledError:
            if waiter in queue:
                queue.remove(waiter)
            else:
                self.release(is_small=is_small)
            raise

    def release(self, *, is_small: bool) -> None:
        """Free a slot."""
        self._free += 1
        self._free_for_large += not is_small
        self._fill()

    def _fill(self) -> None:
        while self._free and (queue := self._next_queue()):
            self._free -= 1
            self._free_for_large -= queue is self._large
            ready = queue.popleft().ready
            if not ready.cancelled():  # otherwise its task, which has not run since, gives the slot back
                ready.set_result(None)

    def _next_queue(self) -> "deque[_Waiter] | None":
        """That of the waiter who came first and may have a slot."""
        queues = [self._small, self._large] if self._free_for_large else [self._small]
        return min((queue for queue in queues if queue), key=lambda queue: queue[0].number, default=None)
