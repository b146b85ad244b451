"""The service inside this process: the same application, called directly, without a server or a port."""

import asyncio
import logging
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
from pydantic import SecretStr

from client.async_client import AsyncClient
from client.errors import PasticheError
from model_store.allocator import configure_allocator
from service.app import build_service
from service.settings import Settings

POLL_SECONDS = 0.05

NO_JOBS_FOLDER = Path(os.devnull) / "jobs"
"""A folder that cannot exist, so that the service neither reads nor writes jobs."""


@asynccontextmanager
async def local() -> AsyncIterator[AsyncClient]:
    """Start a service for the duration of the block and yield a client of it. PASTICHE_… variables are its settings.

    It has no jobs, so it does not touch those of a service with the same settings. Raises PasticheError if it cannot
    start.
    """
    logging.basicConfig(level="WARNING")
    configure_allocator()
    try:
        service = build_service(Settings(jobs_folder=NO_JOBS_FOLDER, jobs_url=SecretStr("")))
    except ValueError as error:
        raise PasticheError(f"the service cannot begin: {error}") from error
    transport = httpx.ASGITransport(service.app, raise_app_exceptions=False)
    async with service.lifespan(service.app), AsyncClient("http://local", transport=transport) as client:
        await _ready(client)
        yield client


async def _ready(client: AsyncClient) -> None:
    """Wait until the models are loaded."""
    while not (health := await client.ready()).ok:
        if not any("being loaded" in problem for problem in health.problems):
            raise PasticheError(f"the service is not ready: {'; '.join(health.problems)}")
        await asyncio.sleep(POLL_SECONDS)
