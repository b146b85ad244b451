"""An event loop whose time passes at once where everything waits for it."""

import asyncio
import selectors
from collections.abc import Callable

TICK = 1e-8
"""Seconds of each turn of the loop, so that what is due now is over after it."""


class VirtualTime(asyncio.SelectorEventLoop):
    """Its clock is `time`. What would wait for ever fails."""

    def __init__(self, before_time_passes: Callable[[], None]) -> None:
        self.now = 1000.0
        self.before_time_passes = before_time_passes
        super().__init__(_Selector(self))

    def time(self) -> float:
        return self.now


class _Selector(selectors.SelectSelector):
    def __init__(self, loop: VirtualTime) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        assert timeout is not None, "everything waits, and nothing will happen"
        if timeout > 0:
            self._loop.before_time_passes()
        self._loop.now += timeout + TICK
        return super().select(0)
