import asyncio

from service.imaging.workers.idle_workers import IdleWorkers
from service.imaging.workers.worker_process import WorkerProcess
from tests.service.live import worker_launcher


def test_workers_are_kept_by_priority_and_no_more_than_are_wanted() -> None:
    async def run() -> None:
        launcher = worker_launcher()
        workers = [await WorkerProcess.start(launcher) for _ in range(4)]
        for low in workers[2:]:
            low.lower_priority()
        idle = IdleWorkers(1)
        assert [idle.keep(worker) for worker in workers] == [True, False, True, False]
        assert list(idle) == [workers[0], workers[2]]
        assert idle.take(low_priority=True) is workers[2]
        assert idle.take(low_priority=True) is None
        assert idle.keep(workers[3])
        assert [idle.discard(workers[0]), idle.discard(workers[0])] == [True, False]
        assert idle.keep(workers[0])
        assert idle.clear() == [workers[0], workers[3]]
        assert list(idle) == []
        await asyncio.gather(*(worker.end() for worker in workers))
        launcher.close()

    asyncio.run(run())
