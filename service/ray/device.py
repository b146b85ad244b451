"""A replica with a device: the whole service but its socket."""

import asyncio
import logging
import sys
from contextlib import AsyncExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ray import serve

from model_store.allocator import configure_allocator
from service.http.relay.exchange import HttpAnswer, HttpCall, exchange
from service.ray.routing import BACKLOG
from service.settings import Settings
from service.telemetry import log

logger = logging.getLogger(__name__)

LIVE = HttpCall("GET", "/livez", b"/livez")


class Device:
    """Answers calls, on its device, with its codec workers and its own admission.

    Ray asks it for its health, and how much work it has; and ends it when everything that it admitted is answered.
    """

    async def __init__(self, settings: dict[str, Any], release: str = "") -> None:  # type: ignore[misc] # Ray awaits it
        """Ready when its models are loaded. `release` is for the log.

        Raises ValidationError, ValueError where the settings are wrong.
        """
        from service.app import build_service  # noqa: PLC0415 # torch: only where there is a device
        from service.server import SWITCH_SECONDS  # noqa: PLC0415

        chosen = Settings.model_validate(settings)
        log.configure(chosen.log_level, chosen.log_format)
        configure_allocator()
        sys.setswitchinterval(SWITCH_SECONDS)
        self._open = AsyncExitStack()
        folder = self._open.enter_context(TemporaryDirectory(prefix="pastiche-jobs-", ignore_cleanup_errors=True))
        own = chosen.model_copy(update={"jobs_folder": Path(folder)})  # a folder has one service
        self._service = await asyncio.to_thread(build_service, own)
        await self._open.enter_async_context(self._service.lifespan(self._service.app))
        await self._service.models.known.wait()
        logger.info("replica %s is ready, release %r", replica_name(), release)

    async def answer(self, call: HttpCall) -> HttpAnswer:
        """What the service answers."""
        return await exchange(self._service.app, call)

    async def scrape(self, call: HttpCall) -> tuple[str, HttpAnswer]:
        """The name of this replica, and what it answers to a call for its metrics."""
        return replica_name(), await self.answer(call)

    async def check_health(self) -> None:
        """Raise RuntimeError where `/livez` fails: Ray then starts another replica."""
        answer = await self.answer(LIVE)
        if answer.status != 200:
            raise RuntimeError(answer.body.decode())

    def record_routing_stats(self) -> dict[str, float]:
        """The queued work, for the router."""
        return {BACKLOG: self._service.admission.backlog.seconds()}

    def record_autoscaling_stats(self) -> dict[str, float]:
        """The queued work, for the policy."""
        return self.record_routing_stats()

    async def __del__(self) -> None:
        """Drain and stop. Ray calls it when no request is left, or the time for them is up."""
        await self._service.lifespan.drain()
        await self._open.aclose()


def replica_name() -> str:
    """The name of this replica among all of the application."""
    return str(serve.get_replica_context().replica_id.unique_id)
