"""Delivers the webhooks of jobs that have ended: at least once, and again after longer and longer waits.

What is known of a delivery is beside its job in the store, so that the next process, or another replica, goes on.
"""

import asyncio
import logging
import random
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Literal, Protocol

from service.errors import JobsUnavailable
from service.jobs.claim_loop import ClaimLoop
from service.jobs.delivery_places import PLACES, DeliveryPlaces
from service.jobs.job import Job
from service.jobs.record import Delivery, DeliveryState
from service.jobs.store import ClaimLost, DeliveryClaim, JobStore, when_available
from service.settings import Settings
from service.telemetry.metrics import Metrics

LONGEST_WAIT = 3600.0
"""The most seconds between two attempts."""

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
        self._places = DeliveryPlaces()
        self._loop: ClaimLoop[DeliveryClaim] = ClaimLoop(
            PLACES, self._claim, self._deliver, self._give_back, lambda: store.seconds_to_delivery(self._places.full)
        )

    def start(self) -> None:
        """Begin to deliver what is due."""
        if self._sender is not None:
            self._loop.start()

    def wake(self) -> None:
        """A job has ended."""
        self._loop.wake()

    async def stop(self) -> None:
        """Stop; an attempt that is under way is made again, by the next process or another replica."""
        await self._loop.stop()

    async def _claim(self) -> DeliveryClaim | None:
        claim = await self._store.claim_delivery(self._places.full)
        if claim is not None:
            self._places.take(claim.job.record)
        return claim

    async def _deliver(self, claim: DeliveryClaim) -> None:
        try:
            await self._deliver_once(claim)
        finally:
            self._places.free(claim.job.record)

    async def _deliver_once(self, claim: DeliveryClaim) -> None:
        assert self._sender is not None
        try:
            delivery = await self._attempt(claim, self._sender)
        except asyncio.CancelledError:
            await self._give_back(claim)
            raise
        with suppress(ClaimLost):  # the job was deleted meanwhile
            await when_available(lambda: self._store.write_delivery(claim, delivery))
            if delivery.state is not DeliveryState.PENDING:
                self._metrics.webhooks.labels(delivery.state).inc()

    async def _give_back(self, claim: DeliveryClaim) -> None:
        """The webhook is as it was; where the store is away, the claim expires."""
        with suppress(ClaimLost, JobsUnavailable):
            await self._store.write_delivery(claim, claim.delivery)

    async def _attempt(self, claim: DeliveryClaim, sender: Sender) -> Delivery:
        """Send once; what is known of the delivery after that."""
        job, attempts = claim.job, claim.delivery.attempts + 1
        failure = await self._send(job, sender)
        if failure is None:
            return Delivery(state=DeliveryState.DELIVERED, attempts=attempts)
        logger.warning("job %s: webhook was not delivered, attempt %d: %s", job.record.id, attempts, failure)
        if failure.final or attempts >= self._settings.webhook_attempts:
            return Delivery(state=DeliveryState.FAILED, attempts=attempts)
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


def wait_seconds(attempts: int, first: float, share: float) -> float:
    """How long to wait after so many attempts: `first`, then twice as long each time, up to LONGEST_WAIT.

    Half of it is certain, and `share` (0 to 1) of the other half, so that receivers that were away are not all met at
    once.
    """
    whole = min(LONGEST_WAIT, first * 2.0 ** min(attempts - 1, 32))
    return whole * (0.5 + 0.5 * share)
