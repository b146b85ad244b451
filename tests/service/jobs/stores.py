"""Both kinds of job stores, on clocks that tests set."""

import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from service.jobs.folder_store import FolderJobStore
from service.jobs.record import Callback, JobOutcome, JobRecord
from service.jobs.redis_store import RedisJobStore
from service.jobs.store import JobStore
from service.pipeline.requests import InputFiles
from service.settings import Settings
from service.telemetry.metrics import Metrics
from tests.service.jobs.redis_server import RedisServer
from tests.service.jobs.test_record import RESULT, record
from tests.service.live import settings

FILES = InputFiles(b"image", b"mask")
SUCCESS = JobOutcome(result=RESULT, tiles=7)

STORED_CLOCK = "tonumber(redis.call('GET', 'clock'))"
"""A server's time, in Lua, that tests set."""


def owned(name: str, owner: str = "", callback: str | None = None) -> JobRecord:
    """What a job is to do."""
    asked = Callback(url=callback) if callback is not None else None
    return record(name).model_copy(update={"owner": owner, "callback": asked})


@dataclass
class Bench:
    """A store for a test, or on Redis several of them."""

    root: Path
    server: RedisServer | None
    """None: the store is a folder."""
    now: datetime = field(default_factory=lambda: datetime.now(UTC))
    metrics: Metrics = field(default_factory=Metrics)
    options: dict[str, Any] = field(default_factory=dict)

    def store(self) -> JobStore:
        """A store, which is to be opened; on Redis, that of another replica each time."""
        return self.redis_store() if self.server is not None else self.folder_store()

    def folder_store(self) -> FolderJobStore:
        return FolderJobStore(self._settings(), self.metrics, lambda: self.now)

    def redis_store(self, url: str | None = None) -> RedisJobStore:
        """`url`: that of the server, unless it is reached on another way."""
        assert self.server is not None
        self.pass_seconds(0)
        return RedisJobStore(self._settings(jobs_url=url or self.server.url()), self.metrics, STORED_CLOCK)

    def pass_seconds(self, seconds: float) -> None:
        """Set the clock forward."""
        self.now += timedelta(seconds=seconds)
        if self.server is not None:
            self.server.client.set("clock", repr(self.now.timestamp()))

    def trouble_of(self, store: JobStore) -> str | None:
        return store.trouble

    def dropped_webhooks(self) -> float:
        value = self.metrics.registry.get_sample_value("pastiche_webhooks_total", {"outcome": "dropped"})
        return value or 0.0

    def _settings(self, **options: Any) -> Settings:
        return settings(self.root / uuid.uuid4().hex, **{"jobs_folder": self.root / "jobs", **self.options, **options})
