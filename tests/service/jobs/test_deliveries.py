import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from service.jobs.deliveries import LONGEST_WAIT, Deliveries, DeliveryFailed, wait_seconds
from service.jobs.delivery_places import PLACES
from service.jobs.folder import JobFolder
from service.jobs.folder_store import FolderJobStore
from service.jobs.job import Job
from service.jobs.record import Callback, Delivery, DeliveryState, JobOutcome, JobRecord
from service.jobs.store import DeliveryClaim
from service.pipeline.requests import InputFiles
from service.settings import Settings
from service.telemetry.metrics import Metrics
from tests.service.jobs.test_record import RESULT, record
from tests.service.live import settings

WITH_CALLBACK = record("one").model_copy(update={"callback": Callback(url="https://example.com/")})


class Scripted:
    """Fails as it is told to, and then delivers."""

    def __init__(self, failures: Sequence[Exception] = ()) -> None:
        self.sent: list[str] = []
        self.busy, self.go_on = asyncio.Event(), asyncio.Event()
        self.go_on.set()
        self._failures = list(failures)

    async def send(self, job: Job) -> None:
        self.busy.set()
        await self.go_on.wait()
        assert job.record.callback is not None
        self.sent.append(job.record.callback.message_id)
        if self._failures:
            raise self._failures.pop(0)


class Watched(FolderJobStore):
    """Tells when the webhook was delivered or given up."""

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        super().__init__(settings, metrics)
        self.settled = asyncio.Event()

    async def write_delivery(self, claim: DeliveryClaim, delivery: Delivery) -> None:
        await super().write_delivery(claim, delivery)
        if delivery.state is not DeliveryState.PENDING:
            self.settled.set()


class Bench:
    """A job that has ended, on the disk, and its deliveries."""

    def __init__(self, root: Path, sender: Scripted | None, **options: Any) -> None:
        self.settings: Settings = settings(root / "models", **{"webhook_retry_seconds": 0.001, **options})
        self.metrics = Metrics()
        self.folder = JobFolder(self.settings.jobs_folder)
        if not self.folder.exists():
            finished(self.folder, WITH_CALLBACK)
        self.store = Watched(self.settings, self.metrics)
        self.deliveries = Deliveries(self.settings, self.store, sender, self.metrics)

    async def start(self) -> None:
        await self.store.open()
        self.deliveries.start()

    async def deliver(self) -> None:
        """Until the webhook is delivered or given up."""
        await self.start()
        if self.pending:
            await self.store.settled.wait()
        await self.stop()

    async def stop(self) -> None:
        await self.deliveries.stop()
        await self.store.close()

    @property
    def pending(self) -> bool:
        return self.delivery.state is DeliveryState.PENDING

    @property
    def delivery(self) -> Delivery:
        return self.folder.delivery("one")

    def metric(self, name: str, **labels: str) -> float:
        return self.metrics.registry.get_sample_value(f"pastiche_{name}_total", labels) or 0.0


def test_webhook_is_sent_until_it_is_delivered(tmp_path: Path) -> None:
    async def run() -> None:
        failures = [DeliveryFailed("refused", "status 500"), DeliveryFailed("unreachable", "no answer"), KeyError()]
        sender = Scripted(failures)
        bench = Bench(tmp_path, sender)
        await bench.deliver()
        assert len(sender.sent) == 4
        assert len(set(sender.sent)) == 1
        assert sender.sent[0].startswith("msg_")
        assert (bench.delivery.state, bench.delivery.attempts) == (DeliveryState.DELIVERED, 4)
        assert bench.metric("webhooks", outcome="delivered") == 1
        assert bench.metric("webhook_attempts", result="refused") == bench.metric("webhook_attempts", result="ok") == 1
        assert bench.metric("webhook_attempts", result="unreachable") == 2
        await Bench(tmp_path, sender).deliver()  # as after a restart
        assert len(sender.sent) == 4

    asyncio.run(run())


@pytest.mark.parametrize(("final", "attempts"), [(False, 3), (True, 1)])
def test_webhook_is_given_up(tmp_path: Path, final: bool, attempts: int) -> None:
    async def run() -> None:
        sender = Scripted([DeliveryFailed("refused", "status", final=final)] * 9)
        bench = Bench(tmp_path, sender, webhook_attempts=3)
        await bench.deliver()
        assert len(sender.sent) == attempts
        assert (bench.delivery.state, bench.delivery.attempts) == (DeliveryState.FAILED, attempts)
        assert bench.metric("webhooks", outcome="failed") == 1

    asyncio.run(run())


def test_next_process_goes_on_with_the_attempts(tmp_path: Path) -> None:
    async def run() -> None:
        sender = Scripted([DeliveryFailed("refused", "status 500")])
        bench = Bench(tmp_path, sender, webhook_attempts=3)
        bench.folder.write_delivery("one", Delivery(attempts=2))
        await bench.deliver()
        assert len(sender.sent) == 1
        assert (bench.delivery.state, bench.delivery.attempts) == (DeliveryState.FAILED, 3)

    asyncio.run(run())


def test_attempt_that_a_stop_interrupted_is_made_again(tmp_path: Path) -> None:
    async def run() -> None:
        hanging = Scripted()
        hanging.go_on.clear()
        bench = Bench(tmp_path, hanging)
        await bench.start()
        await hanging.busy.wait()
        await bench.stop()
        sender = Scripted()
        after = Bench(tmp_path, sender)
        await after.deliver()
        assert after.delivery.state is DeliveryState.DELIVERED
        assert len(sender.sent) == 1

    asyncio.run(run())


def test_webhook_of_a_deleted_job_is_dropped(tmp_path: Path) -> None:
    async def run() -> None:
        hanging = Scripted()
        hanging.go_on.clear()
        bench = Bench(tmp_path, hanging)
        await bench.start()
        await hanging.busy.wait()
        assert await bench.store.remove("one") is not None
        hanging.go_on.set()
        await bench.stop()
        assert bench.metric("webhooks", outcome="dropped") == 1
        assert bench.metric("webhooks", outcome="delivered") == 0

    asyncio.run(run())


class HangingAt(Scripted):
    """Never hears of one host; tells of any other."""

    def __init__(self, host: str) -> None:
        super().__init__()
        self._host = host

    async def send(self, job: Job) -> None:
        assert job.record.callback is not None
        if job.record.callback.host == self._host:
            await asyncio.Event().wait()
        await super().send(job)


@pytest.mark.parametrize("slow_owner", ["", "slow"])
def test_receiver_that_does_not_answer_delays_its_own_webhooks_alone(tmp_path: Path, slow_owner: str) -> None:
    """One host of many principals, or one principal's; the webhook of another one is due last."""
    made = JobFolder(settings(tmp_path / "models").jobs_folder)
    for number in range(PLACES + 1):
        asked = {"id": f"slow-{number}", "owner": slow_owner or str(number)}
        finished(made, record("slow").model_copy(update=asked | {"callback": Callback(url="https://slow.example/")}))
    finished(made, WITH_CALLBACK)

    async def run() -> None:
        sender = HangingAt("slow.example")
        bench = Bench(tmp_path, sender)
        await bench.start()
        async with asyncio.timeout(20):
            await bench.store.settled.wait()
        await bench.stop()
        assert bench.delivery.state is DeliveryState.DELIVERED
        assert bench.folder.delivery("slow-0").attempts == 0

    asyncio.run(run())


def finished(folder: JobFolder, asked: JobRecord) -> None:
    folder.create(asked, InputFiles(b"image"))
    folder.finish(asked.id, JobOutcome(result=RESULT), b"image")


def test_without_a_sender_webhooks_wait_for_one(tmp_path: Path) -> None:
    async def run() -> None:
        bench = Bench(tmp_path, None)
        await bench.start()
        await bench.stop()
        assert bench.pending

    asyncio.run(run())


def test_state_that_cannot_be_written_ends_no_delivery(tmp_path: Path) -> None:
    async def run() -> None:
        sender = Scripted([DeliveryFailed("refused", "status 500")])
        bench = Bench(tmp_path, sender)
        await bench.start()
        bench.folder.remove("one")
        await bench.store.settled.wait()
        await bench.stop()
        assert len(sender.sent) == 2

    asyncio.run(run())


def test_waits_grow_to_an_hour_and_differ() -> None:
    assert [wait_seconds(attempts, 5.0, 1.0) for attempts in (1, 2, 3, 11, 1000)] == [5, 10, 20, LONGEST_WAIT, 3600]
    assert wait_seconds(3, 5.0, 0.0) == 10
    assert wait_seconds(3, 5.0, 0.5) == 15
