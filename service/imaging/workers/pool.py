"""A pool of worker processes: a task fails alone, whatever it does, and a long one does not keep the others waiting.

A library of process pools, pebble 5.2, was measured beside it: see docs/architecture.md.
"""

import asyncio
import signal
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from service.errors import CorruptImage, Draining, ImageTooDemanding, ServiceError
from service.imaging.workers.idle_workers import IdleWorkers
from service.imaging.workers.launcher import WorkerLauncher
from service.imaging.workers.slots import Slots
from service.imaging.workers.task import Budget, CodecTask, TaskOutcome
from service.imaging.workers.worker_process import WorkerDied, WorkerProcess

ATTEMPTS = 2
"""Attempts at a task whose worker dies, as the system may have killed it for the memory of others."""

MEGABYTE = 10**6


@dataclass(frozen=True)
class TaskTimeouts:
    """For how long a task is waited for, in seconds."""

    long_task: float = 0.1
    """After which a task is long: another one gets its slot, and it goes on at low priority."""
    abandoned_task: float = 0.1
    """In which a task that nobody waits for may still end before its worker is killed, which costs a new one."""


@dataclass(eq=False)
class _Run:
    """A task that has a slot, and soon a worker."""

    task: CodecTask
    worker: WorkerProcess | None = None
    """None while it starts, and when it is given back."""
    has_slot: bool = True
    set_aside: asyncio.TimerHandle | None = None
    """Due when it is long."""
    abandoned: bool = False
    """Whether nobody waits for it any more."""


class WorkerPool:
    """`size` tasks run at the same time, and up to twice as many long ones beside them. Belongs to one event loop.

    Workers start when they are first needed. Those of tasks that take long, or are expected to, have low priority.
    """

    def __init__(
        self,
        size: int,
        launcher: WorkerLauncher,
        on_death: Callable[[str], None] = lambda _reason: None,
        timeouts: TaskTimeouts | None = None,
    ) -> None:
        """The pool closes its launcher. `on_death` is told why a worker died: cpu, killed, abandoned, or crash."""
        self._slots = Slots(size)
        self._most_long_runs = 2 * size
        self._launcher = launcher
        self._on_death = on_death
        self._timeouts = timeouts or TaskTimeouts()
        self._idle = IdleWorkers(size)
        self._runs: dict[asyncio.Task[TaskOutcome], _Run] = {}
        self._buried: set[asyncio.Task[int | None]] = set()
        """The ends of workers that have died without a task."""
        self._closed = False

    @property
    def waiting(self) -> int:
        """The tasks that wait for a slot."""
        return self._slots.waiting

    @property
    def pids(self) -> list[int]:
        """The process ids of all workers."""
        running = (run.worker for run in self._runs.values())
        return [worker.pid for worker in (*self._idle, *running) if worker is not None]

    async def start(self) -> None:
        """Start one worker, and the fork server with it, so that the first client does not wait for them."""
        self._idle.keep(await WorkerProcess.start(self._launcher, self._bury))

    async def run(self, task: CodecTask) -> Any:
        """The value of a task. Cancelling this ends the task.

        Raises the ServiceError of the task, ImageTooDemanding where it exceeds its budget, CorruptImage where a
        decoder crashes on it, RuntimeError for a defect, and OSError where there is no room for a process.
        """
        exit_code = None
        for _ in range(ATTEMPTS):
            try:
                return _value(await self._attempt(task), task.budget)
            except WorkerDied as death:
                exit_code = death.exit_code
                if exit_code == -signal.SIGXCPU:
                    break
        raise _failure(exit_code, task.budget)

    async def close(self) -> None:
        """End all workers, in the middle of their tasks."""
        self._closed = True
        for performing in self._runs:
            self._abandon(performing)
        await asyncio.gather(*self._runs, return_exceptions=True)
        await asyncio.gather(*(worker.end() for worker in self._idle.clear()), *self._buried)
        await asyncio.to_thread(self._launcher.close)

    async def _attempt(self, task: CodecTask) -> TaskOutcome:
        """Raises WorkerDied."""
        await self._slots.acquire(is_small=task.budget.is_small)
        run = _Run(task)
        performing = asyncio.create_task(self._perform(run))  # goes on to its end, whoever leaves
        self._runs[performing] = run
        performing.add_done_callback(self._runs.pop)
        try:
            return await asyncio.shield(performing)
        except asyncio.CancelledError:
            performing.add_done_callback(_retrieve)
            asyncio.get_running_loop().call_later(self._timeouts.abandoned_task, self._abandon, performing)
            raise

    async def _take_worker(self, *, low_priority: bool) -> WorkerProcess:
        while (idle := self._idle.take(low_priority=low_priority)) is not None:
            if idle.alive:
                return idle
            await idle.end()
        worker = await WorkerProcess.start(self._launcher, self._bury)
        if low_priority:
            worker.lower_priority()
        return worker

    async def _perform(self, run: _Run) -> TaskOutcome:
        """From the slot of a task until it is free again. Raises WorkerDied, Draining, or OSError."""
        try:
            if self._closed:
                raise Draining
            worker = run.worker = await self._take_worker(low_priority=run.task.budget.is_long)
            try:
                if run.abandoned:  # while the worker started
                    raise Draining
                return await self._perform_in(worker, run)
            finally:
                run.worker = None
                await self._give_back(worker)
        finally:
            self._free_slot(run)

    async def _perform_in(self, worker: WorkerProcess, run: _Run) -> TaskOutcome:
        self._set_aside_later(worker, run)
        try:
            return await worker.perform(run.task)
        except WorkerDied as death:
            self._on_death("abandoned" if run.abandoned else _reason(death.exit_code))
            raise
        finally:
            if run.set_aside is not None:
                run.set_aside.cancel()

    async def _give_back(self, worker: WorkerProcess) -> None:
        """The worker serves on, for tasks of its priority."""
        if not (worker.alive and not self._closed and self._idle.keep(worker)):
            await worker.end()

    def _bury(self, worker: WorkerProcess) -> None:
        """One that died without a task, as the system may have killed it: its end is awaited, as nothing else would."""
        if self._idle.discard(worker):
            end = asyncio.create_task(worker.end())
            self._buried.add(end)
            end.add_done_callback(self._buried.discard)

    def _set_aside_later(self, worker: WorkerProcess, run: _Run) -> None:
        seconds = self._timeouts.long_task
        run.set_aside = asyncio.get_running_loop().call_later(seconds, self._set_aside, worker, run)

    def _set_aside(self, worker: WorkerProcess, run: _Run) -> None:
        """Let another task run beside one that is long, if not too many are."""
        if sum(not other.has_slot for other in self._runs.values()) < self._most_long_runs:
            worker.lower_priority()
            self._free_slot(run)
        else:
            self._set_aside_later(worker, run)

    def _free_slot(self, run: _Run) -> None:
        if run.has_slot:
            run.has_slot = False
            self._slots.release(is_small=run.task.budget.is_small)

    def _abandon(self, performing: asyncio.Task[TaskOutcome]) -> None:
        if run := self._runs.get(performing):
            run.abandoned = True
            if run.worker is not None:
                run.worker.kill()


def _retrieve(performing: asyncio.Task[TaskOutcome]) -> None:
    """Take note of how a task ended that nobody waits for, or else asyncio logs it as an error."""
    if not performing.cancelled():
        performing.exception()


def _value(outcome: TaskOutcome, budget: Budget) -> Any:
    if outcome.failure is not None:
        raise outcome.failure
    if outcome.defect:
        raise RuntimeError(f"a codec worker failed:\n{outcome.defect}")
    if outcome.out_of_memory:
        megabytes = budget.memory // MEGABYTE
        raise _too_demanding(f"more than {megabytes} MB of memory", budget, max_megabytes=megabytes)
    return outcome.value


def _failure(exit_code: int | None, budget: Budget) -> ServiceError:
    """What the client is told of a task whose workers died."""
    if exit_code == -signal.SIGXCPU:
        seconds = f"more than {budget.seconds:.3g} s of processor time"
        return _too_demanding(seconds, budget, max_seconds=round(budget.seconds, 3))
    if exit_code == -signal.SIGKILL:
        return _too_demanding("more memory than there is", budget)
    return CorruptImage(f"the codec crashed when it was to {budget.purpose} the image; save it anew")


def _too_demanding(what: str, budget: Budget, **members: float) -> ImageTooDemanding:
    detail = f"the image takes {what} to {budget.purpose}; send a smaller one, or save it anew by another program"
    return ImageTooDemanding(detail, **members)


def _reason(exit_code: int | None) -> str:
    """The label of a death in the metrics."""
    return {-signal.SIGXCPU: "cpu", -signal.SIGKILL: "killed"}.get(exit_code or 0, "crash")
