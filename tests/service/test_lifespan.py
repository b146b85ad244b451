import asyncio
from pathlib import Path

import pytest

from service.app import build_service
from service.http.siblings import Siblings
from tests.service.live import publish, settings, worker_launcher


def test_background_tasks_run_for_the_length_of_the_block(tmp_path: Path) -> None:
    publish(tmp_path)
    service = build_service(settings(tmp_path), launcher=worker_launcher())
    lifespan = service.lifespan

    async def run() -> None:
        assert lifespan.tasks == []
        async with lifespan(service.app):
            assert lifespan.running
            while not service.models.all():  # noqa: ASYNC110 # nothing announces what the stores hold
                await asyncio.sleep(0.001)
        assert all(task.done() for task in lifespan.tasks)
        assert not lifespan.broken.is_set()

    asyncio.run(run())


def test_drain_turns_readiness_off_before_admission(tmp_path: Path) -> None:
    service = build_service(settings(tmp_path, shutdown_delay_seconds=0.05), launcher=worker_launcher())
    lifespan = service.lifespan

    async def run() -> None:
        async with lifespan(service.app):
            draining = asyncio.create_task(lifespan.drain())
            await asyncio.sleep(0)
            assert (lifespan.stopping, service.admission.draining) == (True, False)
            await draining
            assert service.admission.draining

    asyncio.run(run())


def test_task_that_is_cancelled_breaks_nothing(tmp_path: Path) -> None:
    service = build_service(settings(tmp_path), launcher=worker_launcher())

    async def run() -> None:
        async with service.lifespan(service.app):
            service.lifespan.tasks[0].cancel()
            await asyncio.sleep(0.01)
            assert service.lifespan.running

    asyncio.run(run())


def test_task_that_ends_by_itself_breaks_the_service(tmp_path: Path) -> None:
    publish(tmp_path)
    service = build_service(settings(tmp_path), launcher=worker_launcher())
    service.pool.runners[0].lost = "the device is gone"

    async def run() -> None:
        async with service.lifespan(service.app):
            await service.lifespan.broken.wait()  # the registry cannot load a model any more
            assert not service.lifespan.running

    asyncio.run(run())


def test_one_of_several_processes_listens_when_its_models_are_known(tmp_path: Path) -> None:
    publish(tmp_path)
    service = build_service(settings(tmp_path), launcher=worker_launcher(), siblings=Siblings(tmp_path, 0, 2))

    async def run() -> None:
        async with service.lifespan(service.app):
            assert [model.name for model in service.models.all()] == ["wave"]

    asyncio.run(run())


def test_one_of_several_processes_stops_while_its_models_are_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = build_service(settings(tmp_path), launcher=worker_launcher(), siblings=Siblings(tmp_path, 0, 2))
    monkeypatch.setattr(service.models, "note_known", lambda: None)
    began = asyncio.Event()

    async def start_and_stop() -> None:
        async with service.lifespan(service.app):
            began.set()

    async def run() -> None:
        running = asyncio.create_task(start_and_stop())
        await asyncio.sleep(0.05)
        assert not began.is_set()
        await service.lifespan.drain()
        await running
        assert began.is_set()

    asyncio.run(run())


def test_every_part_stops_though_others_fail_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    service = build_service(settings(tmp_path), launcher=worker_launcher())

    async def fail() -> None:
        raise OSError("the jobs cannot be stopped")

    monkeypatch.setattr(service.jobs, "stop", fail)

    async def run() -> None:
        with pytest.raises(OSError, match="the jobs cannot be stopped"):
            async with service.lifespan(service.app):
                assert service.metrics.registry.get_sample_value("pastiche_codec_workers")
        assert all(task.done() for task in service.lifespan.tasks)
        assert service.metrics.registry.get_sample_value("pastiche_codec_workers") == 0
        with pytest.raises(RuntimeError, match="after shutdown"):
            service.pool.submit_beside(lambda: None)

    asyncio.run(run())
