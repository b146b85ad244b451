"""Several devices of one machine as one: a runner for each, all of which have all networks. No HTTP, no asyncio.

A batch goes to the device that has the fewest; of several these take turns. It does not matter which ran its network
last: to copy weights into a captured graph takes microseconds. A device that is lost gets no further batch, what it had
is computed by another one, and the pool is lost when none is left. That is not certain to help: an error of one GPU can
make calls of the others in this process fail, too (`Runner.translated_errors`).
"""

import logging
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from functools import partial
from threading import Lock
from typing import TypeVar

from service.engine.loaded_model import LoadedNetwork
from service.engine.runner import Runner
from service.engine.tiling import ImageTile
from service.errors import DeviceLost

T = TypeVar("T")

logger = logging.getLogger(__name__)


class RunnerPool:
    """Owns the runners. `close` ends them."""

    def __init__(self, runners: Sequence[Runner]) -> None:
        """`runners`: one or more, of equal devices."""
        self.runners = tuple(runners)
        self._lock = Lock()
        self._batches = dict.fromkeys(self.runners, 0)
        """That each has, waiting ones included; the device that was given one last is the last."""
        self._coordinating_thread = ThreadPoolExecutor(1, "loading-everywhere")

    @property
    def working(self) -> tuple[Runner, ...]:
        """The runners whose device is not lost."""
        return tuple(runner for runner in self.runners if runner.lost is None)

    @property
    def lanes(self) -> int:
        """Batches that run side by side, on all devices that are left."""
        return sum(runner.lanes for runner in self.working)

    @property
    def lost(self) -> str | None:
        """Why no device computes any more; None while one works."""
        return None if self.working else "; ".join(dict.fromkeys(self._reasons()))

    @property
    def warnings(self) -> list[str]:
        """Which devices are lost, while others go on."""
        others = f"the service goes on with {len(self.working)} of {len(self.runners)} devices; restart it to use all"
        return [f"{reason}; {others}" for reason in self._reasons()] if self.working else []

    def operation_age(self) -> float:
        """Seconds that the longest running operation has taken on a device that works, 0 while all are idle."""
        return max((runner.operation_age() for runner in self.working), default=0.0)

    def submit(self, network: LoadedNetwork, tiles: Sequence[ImageTile], exclusive: bool) -> Future[None]:
        """`Runner.run` on the device that has the fewest batches; where that is lost, on another one.

        Raises DeviceLost where there is none, at once or by the future.
        """
        with self._lock:
            runner = self._least_busy()
            self._batches[runner] = self._batches.pop(runner) + 1
        batch = partial(self._run, runner, network, tiles, exclusive)
        future = runner.submit_operation(batch, exclusive=exclusive)
        future.add_done_callback(lambda _: self._on_end(runner))
        return future

    def submit_beside(self, operation: Callable[[], T]) -> Future[T]:
        """Call a function that itself calls `on_first` and `on_each`, in a thread of its own: one after another."""
        return self._coordinating_thread.submit(operation)

    def on_first(self, operation: Callable[[Runner], T]) -> tuple[Runner, T]:
        """Call a function beside the batches of the first device that works, and wait for it.

        Where that is lost meanwhile the next one takes its place; raises DeviceLost where none is left.
        """
        while self.working:
            runner = self.working[0]
            try:
                return runner, runner.submit_beside(partial(operation, runner)).result()
            except DeviceLost:
                continue
        raise DeviceLost(self.lost or "")

    def on_each(self, operation: Callable[[Runner], T], *, but: Runner | None = None) -> dict[Runner, T]:
        """Call a function beside the batches of each device that works, side by side, and wait for all.

        What is lost meanwhile is left out; raises whatever else fails, and DeviceLost where no device is left.
        """
        runners = [runner for runner in self.working if runner is not but]
        futures = {runner: runner.submit_beside(partial(operation, runner)) for runner in runners}
        wait(futures.values())
        results = {runner: future.result() for runner, future in futures.items() if not _is_lost(future)}
        if self.lost is not None:
            raise DeviceLost(self.lost)
        return results

    def close(self) -> None:
        """Wait for the running operations, cancel those that have not begun, end the threads."""
        for runner in self.runners:
            runner.close()
        self._coordinating_thread.shutdown(cancel_futures=True)

    def _run(self, runner: Runner, network: LoadedNetwork, tiles: Sequence[ImageTile], exclusive: bool) -> None:
        """In a lane's thread. That of a lost device has nothing else to do, and waits for the other one."""
        try:
            runner.run(network.on(runner.device), tiles, exclusive)
        except DeviceLost:
            if self.working:
                logger.warning("a batch of %s is computed by another device", runner.device)
            self.submit(network, tiles, exclusive).result()

    def _least_busy(self) -> Runner:
        """That which was given its last batch first, of several. Raises DeviceLost where none is left."""
        working = [runner for runner in self._batches if runner.lost is None]
        if not working:
            raise DeviceLost(self.lost or "")
        return min(working, key=self._batches.__getitem__)

    def _on_end(self, runner: Runner) -> None:
        with self._lock:
            self._batches[runner] -= 1

    def _reasons(self) -> list[str]:
        return [runner.lost for runner in self.runners if runner.lost is not None]


def _is_lost(future: Future[T]) -> bool:
    return isinstance(future.exception(), DeviceLost)
