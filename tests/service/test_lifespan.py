import asyncio
from pathlib import Path

from service.app import create_app
from service.lifespan import Lifespan
from tests.service.live import publish, settings


def test_background_tasks_run_for_the_length_of_the_block(tmp_path: Path) -> None:
    publish(tmp_path)
    app = create_app(settings(tmp_path))
    lifespan: Lifespan = app.state.lifespan

    async def run() -> None:
        assert lifespan._tasks == []
        async with lifespan(app):
            assert lifespan.running
            while not lifespan._models.all():  # noqa: ASYNC110 # nothing announces what the stores hold
                await asyncio.sleep(0.001)
        assert all(task.done() for task in lifespan._tasks)
        assert not lifespan.broken.is_set()

    asyncio.run(run())


def test_drain_turns_readiness_off_before_admission(tmp_path: Path) -> None:
    app = create_app(settings(tmp_path, shutdown_delay_seconds=0.05))
    lifespan: Lifespan = app.state.lifespan

    async def run() -> None:
        async with lifespan(app):
            draining = asyncio.create_task(lifespan.drain())
            await asyncio.sleep(0)
            assert (lifespan.stopping, lifespan._admission.draining) == (True, False)
            await draining
            assert lifespan._admission.draining

    asyncio.run(run())


def test_task_that_ends_by_itself_breaks_the_service(tmp_path: Path) -> None:
    app = create_app(settings(tmp_path))
    lifespan: Lifespan = app.state.lifespan

    async def run() -> None:
        async with lifespan(app):
            lifespan._tasks[0].cancel()
            await asyncio.sleep(0.01)
            assert lifespan.running  # told to end: no fault

            async def faulty() -> None:
                raise RuntimeError("fault")

            task = asyncio.create_task(faulty())
            task.add_done_callback(lifespan._ended)
            await lifespan.broken.wait()
            assert not lifespan.running

    asyncio.run(run())
