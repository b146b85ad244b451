"""How the service begins and ends: its background tasks, draining, and what is left to stop."""

import asyncio
import logging
from collections.abc import AsyncIterator
from concurrent.futures import Executor
from contextlib import asynccontextmanager

from fastapi import FastAPI

from service.admission import Admission
from service.batcher import Batcher
from service.commissions import Commissions
from service.runner import Runner
from service.served_models import ServedModel, ServedModels
from service.settings import Settings

logger = logging.getLogger(__name__)


class Lifespan:
    """Starts and stops the parts that run beside requests. It is the application's ASGI lifespan."""

    def __init__(
        self,
        settings: Settings,
        models: ServedModels,
        admission: Admission[ServedModel],
        batcher: Batcher[ServedModel],
        runner: Runner,
        codecs: Executor,
        commissions: Commissions,
    ) -> None:
        self._settings = settings
        self._models = models
        self._admission = admission
        self._batcher = batcher
        self._runner = runner
        self._codecs = codecs
        self._commissions = commissions
        self._tasks: list[asyncio.Task[None]] = []
        self.broken = asyncio.Event()
        """Set when a background task has ended by itself: the device is lost, and the process should end."""
        self.stopping = False
        """Whether requests should go elsewhere, though some may still be admitted."""

    @property
    def running(self) -> bool:
        """Whether every background task is at work."""
        return bool(self._tasks) and not self.broken.is_set()

    @asynccontextmanager
    async def __call__(self, _app: FastAPI) -> AsyncIterator[None]:
        """Serve for the length of the block."""
        await self._commissions.open()
        work = (self._batcher.serve(), self._models.follow(), self._commissions.keep())
        self._tasks = [asyncio.create_task(part) for part in work]
        for task in self._tasks:
            task.add_done_callback(self._ended)
        try:
            yield
        finally:
            await self._stop()

    async def drain(self) -> None:
        """Turn readiness off, then admission, and let what was admitted finish, as long as the settings allow."""
        self.stopping = True
        await asyncio.sleep(self._settings.shutdown_delay_seconds)
        await self._admission.drain(self._settings.drain_seconds)

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled():
            logger.critical("a background task has ended", exc_info=task.exception())
            self.broken.set()

    async def _stop(self) -> None:
        await self._admission.drain(0)
        await self._commissions.stop()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.to_thread(self._runner.close)
        self._codecs.shutdown(wait=False, cancel_futures=True)
