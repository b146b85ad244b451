"""Workers without a task, those of low priority apart: a priority that was lowered cannot be raised again."""

from collections.abc import Iterator

from service.imaging.workers.worker_process import WorkerProcess


class IdleWorkers:
    """Of each priority at most so many; further ones are not kept."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._workers: dict[bool, list[WorkerProcess]] = {False: [], True: []}
        """By whether they have low priority; the last is the next."""

    def __iter__(self) -> Iterator[WorkerProcess]:
        return (worker for workers in self._workers.values() for worker in workers)

    def take(self, *, low_priority: bool) -> WorkerProcess | None:
        """One of that priority, which may have died meanwhile; None where there is none."""
        workers = self._workers[low_priority]
        return workers.pop() if workers else None

    def keep(self, worker: WorkerProcess) -> bool:
        """Keep a worker for later, if there are not enough; whether it is kept."""
        workers = self._workers[worker.low_priority]
        kept = len(workers) < self._most
        if kept:
            workers.append(worker)
        return kept

    def discard(self, worker: WorkerProcess) -> bool:
        """Do not keep a worker any more; whether it was kept."""
        workers = self._workers[worker.low_priority]
        kept = worker in workers
        if kept:
            workers.remove(worker)
        return kept

    def clear(self) -> list[WorkerProcess]:
        """All, which are not kept any more."""
        workers = [*self]
        for each in self._workers.values():
            each.clear()
        return workers
