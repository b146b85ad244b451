"""How the service starts and ends: its background tasks, draining, stopping."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

from service.engine.admission import Admission
from service.engine.runner_pool import RunnerPool
from service.engine.scheduler import Scheduler
from service.imaging.workers.pool import WorkerPool
from service.jobs.manager import JobManager
from service.models.served_model import ServedModel
from service.models.store_watcher import StoreWatcher
from service.settings import Settings

logger = logging.getLogger(__name__)


class Lifespan:
    """Starts and stops what runs beside requests. It is the ASGI lifespan of the application."""

    def __init__(
        self,
        settings: Settings,
        watcher: StoreWatcher,
        admission: Admission[ServedModel],
        scheduler: Scheduler[ServedModel],
        pool: RunnerPool,
        codec_pool: WorkerPool,
        jobs: JobManager,
        background: Sequence[Callable[[], Coroutine[None, None, None]]] = (),
        on_end: Callable[[], None] = lambda: None,
        before_listening: Callable[[], Coroutine[None, None, object]] | None = None,
    ) -> None:
        """`background`: what else runs until the service stops; `on_end`: what is done last, in a thread.

        `before_listening`: what is waited for until the port is open, unless it is to stop before.
        """
        self._settings = settings
        self._watcher = watcher
        self._admission = admission
        self._scheduler = scheduler
        self._pool = pool
        self._codec_pool = codec_pool
        self._jobs = jobs
        self._background = background
        self._on_end = on_end
        self._before_listening = before_listening
        self._draining = asyncio.Event()
        self.tasks: list[asyncio.Task[None]] = []
        """The background tasks: the scheduler, the store watcher, the job manager and further ones."""
        self.broken = asyncio.Event()
        """Set when a background task has ended by itself: no device is left, and the process should end."""
        self.stopping = False
        """Whether requests should go elsewhere, though some may still be admitted."""

    @property
    def running(self) -> bool:
        """Whether all background tasks are running."""
        return bool(self.tasks) and not self.broken.is_set()

    @asynccontextmanager
    async def __call__(self, _app: object) -> AsyncIterator[None]:
        """Serve for the length of the block."""
        await self._jobs.open()
        loops = (self._scheduler.serve, self._watcher.watch, self._jobs.sweep, *self._background)
        self.tasks = [asyncio.create_task(loop()) for loop in loops]
        for task in self.tasks:
            task.add_done_callback(self._on_task_end)
        try:
            await self._codec_pool.start()
            await self._until_it_may_listen()
            yield
        finally:
            await self._stop()

    async def drain(self) -> None:
        """Turn readiness off, then admission, and let what was admitted finish, as long as the settings allow.

        No further job is begun, and then nobody waits for one any more.
        """
        self.stopping = True
        self._draining.set()
        self._jobs.drain()
        await asyncio.sleep(self._settings.shutdown_delay_seconds)
        await self._admission.drain(self._settings.drain_seconds)
        self._jobs.leave()

    async def _until_it_may_listen(self) -> None:
        if self._before_listening is None:
            return
        waiting = [asyncio.ensure_future(each()) for each in (self._before_listening, self._draining.wait)]
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        for each in waiting:
            each.cancel()

    def _on_task_end(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled():
            logger.critical("a background task has ended", exc_info=task.exception())
            self.broken.set()

    async def _stop(self) -> None:
        """Each part stops, whatever those before it raise; that is raised at the end."""
        async with AsyncExitStack() as last_first:
            last_first.push_async_callback(asyncio.to_thread, self._on_end)
            last_first.push_async_callback(self._codec_pool.close)
            last_first.push_async_callback(asyncio.to_thread, self._pool.close)
            last_first.push_async_callback(self._stop_tasks)
            last_first.push_async_callback(self._jobs.stop)
            last_first.push_async_callback(self._admission.drain, 0)

    async def _stop_tasks(self) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
