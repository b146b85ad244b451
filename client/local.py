"""The service inside this process: the same application, called directly, without a server or a port."""

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
from pydantic import SecretStr

from client.async_client import AsyncClient
from client.errors import PasticheError
from client.files import UsageError
from client.models import suggestion
from model_store.published_versions import published_names
from service.settings import Settings

if TYPE_CHECKING:
    from model_store import Location
    from service.app import Service

POLL_SECONDS = 0.05

NO_JOBS_FOLDER = Path(os.devnull) / "jobs"
"""A folder that cannot exist, so that the service neither reads nor writes jobs."""


@asynccontextmanager
async def local(names: Iterable[str] = ()) -> AsyncIterator[AsyncClient]:
    """Start a service for the duration of the block and yield a client of it. PASTICHE_… variables are its settings.

    It has no jobs, so it does not touch those of a service with the same settings. Raises PasticheError if it cannot
    start; UsageError, at once, where its stores are folders without a model of one of these names.
    """
    logging.basicConfig(level="WARNING")
    try:
        settings = Settings(jobs_folder=NO_JOBS_FOLDER, jobs_url=SecretStr(""))
        _require_published(names, settings.stores)
        service = _build(settings)
    except ValueError as error:
        raise PasticheError(f"the service cannot begin: {error}") from error
    transport = httpx.ASGITransport(service.app, raise_app_exceptions=False)
    async with service.lifespan(service.app), AsyncClient("http://local", transport=transport) as client:
        await _ready(client)
        yield client


def _build(settings: Settings) -> "Service":
    from model_store.allocator import configure_allocator  # noqa: PLC0415 # PyTorch takes seconds
    from service.app import build_service  # noqa: PLC0415

    configure_allocator()
    return build_service(settings)


def _require_published(names: Iterable[str], stores: "Sequence[Location]") -> None:
    """Raise UsageError for a name that no store has; what stores at URLs have is known to the service alone."""
    folders = [store for store in stores if isinstance(store, Path)]
    if len(folders) < len(stores):
        return
    known = sorted({name for folder in folders for name in published_names(folder)})
    for name in names:
        if known and name not in known:
            told = f"no model is named {name!r}; there are: {', '.join(known)}"
            raise UsageError(f"{told}{suggestion(name, known)}")


async def _ready(client: AsyncClient) -> None:
    """Wait until the models are loaded."""
    while not (health := await client.ready()).ok:
        if not any("being loaded" in problem for problem in health.problems):
            raise PasticheError(f"the service is not ready: {'; '.join(health.problems)}")
        await asyncio.sleep(POLL_SECONDS)
