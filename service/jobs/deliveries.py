"""Delivers the webhooks of jobs that have ended: at least once, and again after longer and longer waits.

What is known of a delivery is beside its job on the disk, so that the next process goes on with it.
"""

import asyncio
import logging
import random
from datetime import UTC, datetime, timedelta
from typing import Literal, Protocol

from service.jobs.job import Job
from service.jobs.record import Delivery, DeliveryState
from service.jobs.store import JobStore
from service.settings import Settings
from service.telemetry.metrics import Metrics

LONGEST_WAIT = 3600.0
"""The most seconds between two attempts."""

AT_ONCE = 8
"""Webhooks that are sent at the same time."""

FailedResult = Literal["blocked", "unreachable", "refused"]
"""No public address, no answer, or none with a status of 2xx: a label of metrics."""

logger = logging.getLogger(__name__)


class DeliveryFailed(Exception):
    """A webhook was not delivered. `final` says that its receiver wants no further attempt."""

    def __init__(self, result: FailedResult, reason: str, *, final: bool = False) -> None:
        super().__init__(reason)
        self.result = result
        self.final = final


class Sender(Protocol):
    """Sends one webhook, once."""

    async def send(self, job: Job) -> None:
        """Raises DeliveryFailed."""


class Deliveries:
    """The webhooks that are under way. Without a sender they wait for a process that has one."""

    def __init__(self, settings: Settings, store: JobStore, sender: Sender | None, metrics: Metrics) -> None:
        self._settings = settings
        self._store = store
        self._sender = sender
        self._metrics = metrics
        self._slots = asyncio.Semaphore(AT_ONCE)

    def start(self, job: Job) -> None:
        """Deliver the webhook of a job that has ended, if it has one that was not delivered yet."""
        if self._sender is not None and job.record.callback is not None:
            job.delivery = asyncio.create_task(self._deliver(job, self._sender))

    def cancel(self, job: Job) -> None:
        """Give up the webhook of a job that is deleted."""
        if job.delivery is not None and job.delivery.cancel():
            self._metrics.webhooks.labels("dropped").inc()

    async def _deliver(self, job: Job, sender: Sender) -> None:
        delivery = await asyncio.to_thread(self._store.delivery, job.record.id)
        while delivery.state is DeliveryState.PENDING:
            await asyncio.sleep(_seconds_until(delivery.next_at))
            async with self._slots:
                delivery = await self._attempt(job, delivery, sender)
            await self._write(job, delivery)

    async def _attempt(self, job: Job, delivery: Delivery, sender: Sender) -> Delivery:
        """Send once; what is known of the delivery after that."""
        attempts = delivery.attempts + 1
        failure = await self._send(job, sender)
        if failure is None:
            return self._ended(DeliveryState.DELIVERED, attempts)
        logger.warning("job %s: webhook was not delivered, attempt %d: %s", job.record.id, attempts, failure)
        if failure.final or attempts >= self._settings.webhook_attempts:
            return self._ended(DeliveryState.FAILED, attempts)
        wait = wait_seconds(attempts, self._settings.webhook_retry_seconds, random.random())
        return Delivery(attempts=attempts, next_at=datetime.now(UTC) + timedelta(seconds=wait))

    async def _send(self, job: Job, sender: Sender) -> DeliveryFailed | None:
        """Why a webhook was not delivered; None where it was."""
        failure = None
        try:
            await sender.send(job)
        except DeliveryFailed as error:
            failure = error
        except Exception as error:
            logger.exception("job %s: webhook cannot be sent", job.record.id)
            failure = DeliveryFailed("unreachable", type(error).__name__)
        self._metrics.webhook_attempts.labels(failure.result if failure else "ok").inc()
        return failure

    def _ended(self, state: DeliveryState, attempts: int) -> Delivery:
        self._metrics.webhooks.labels(state).inc()
        return Delivery(state=state, attempts=attempts)

    async def _write(self, job: Job, delivery: Delivery) -> None:
        try:
            await asyncio.to_thread(self._store.write_delivery, job.record.id, delivery)
        except OSError:
            logger.exception("job %s: the state of its webhook cannot be written", job.record.id)


def wait_seconds(attempts: int, first: float, share: float) -> float:
    """How long to wait after so many attempts: `first`, then twice as long each time, up to LONGEST_WAIT.

    Half of it is certain, and `share` (0 to 1) of the other half, so that receivers that were away are not all met at
    once.
    """
    whole = min(LONGEST_WAIT, first * 2.0 ** min(attempts - 1, 32))
    return whole * (0.5 + 0.5 * share)


def _seconds_until(moment: datetime) -> float:
    """Never more than LONGEST_WAIT, though the clock may have been wrong when the moment was written."""
    return min(LONGEST_WAIT, max(0.0, (moment - datetime.now(UTC)).total_seconds()))
