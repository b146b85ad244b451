"""The service inside this process: the same application, called directly, without a server or a port."""

import asyncio
import logging
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx

from client.exchange import Refused
from model_store.allocator import configure_allocator
from service.app import build_service
from service.settings import Settings

POLL_SECONDS = 0.05

NO_JOBS_FOLDER = Path(os.devnull) / "jobs"
"""A folder that cannot exist, so that the service neither reads nor writes jobs."""


@asynccontextmanager
async def local(timeouts: httpx.Timeout) -> AsyncIterator[httpx.AsyncClient]:
    """Start a service for the duration of the block and yield a client of it. PASTICHE_… variables are its settings.

    It has no jobs, so it does not touch those of a service with the same settings. Raises Refused if it cannot start.
    """
    logging.basicConfig(level="WARNING")
    configure_allocator()
    try:
        service = build_service(Settings(jobs_folder=NO_JOBS_FOLDER))
    except ValueError as error:
        raise Refused(f"the service cannot begin: {error}") from error
    transport = httpx.ASGITransport(service.app, raise_app_exceptions=False)
    async with (
        service.lifespan(service.app),
        httpx.AsyncClient(transport=transport, base_url="http://local", timeout=timeouts) as client,
    ):
        await _ready(client)
        yield client


async def _ready(client: httpx.AsyncClient) -> None:
    """Wait until the models are loaded."""
    while not (answer := await client.get("/readyz")).is_success:
        problems = answer.json()["problems"]
        if not any("being loaded" in problem for problem in problems):
            raise Refused(f"the service is not ready: {'; '.join(problems)}")
        await asyncio.sleep(POLL_SECONDS)
