from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from threading import Barrier, Event

from service.engine.shared_by_gpus import BatchDivisor, CaptureTurns


def test_lack_of_memory_on_several_gpus_at_once_halves_batches_once() -> None:
    divisor = BatchDivisor()
    divisor.double(1)
    divisor.double(1)
    assert divisor.value == 2
    divisor.double(2)
    assert divisor.value == 4


class Launch:
    """A launch in a thread of its own, which ends when it is told to."""

    def __init__(self, threads: ThreadPoolExecutor, turns: CaptureTurns, *, captures: bool = False) -> None:
        self.began, self.captured, self.go_on = Event(), Event(), Event()
        self._turns = turns
        self._future: Future[None] = threads.submit(self._run, captures)

    def end(self) -> None:
        self.go_on.set()
        self._future.result()

    def _run(self, captures: bool) -> None:
        with self._turns.beside():
            self.began.set()
            if captures:
                with self._turns.alone():
                    self.captured.set()
                    self.go_on.wait()
            self.go_on.wait()


@contextmanager
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(4) as executor:
        yield executor


def test_launches_run_side_by_side() -> None:
    turns = CaptureTurns()
    with threads() as executor:
        launches = [Launch(executor, turns) for _ in range(3)]
        for launch in launches:
            launch.began.wait()
        for launch in launches:
            launch.end()


def test_capture_waits_for_launches_and_lets_none_begin() -> None:
    turns = CaptureTurns()
    with threads() as executor:
        running = Launch(executor, turns)
        running.began.wait()
        capturing = Launch(executor, turns, captures=True)
        capturing.began.wait()
        assert not capturing.captured.is_set()
        running.end()
        capturing.captured.wait()
        late = Launch(executor, turns)
        assert not late.began.wait(0.05)
        capturing.end()
        late.began.wait()
        late.end()


def test_captures_of_two_launches_take_turns() -> None:
    turns, both, inside, most = CaptureTurns(), Barrier(2), list[int](), list[int]()

    def capture(number: int) -> None:
        with turns.beside():
            both.wait()
            with turns.alone():
                inside.append(number)
                most.append(len(inside))
                Event().wait(0.02)
                inside.remove(number)

    with threads() as executor:
        list(executor.map(capture, range(2)))
    assert most == [1, 1]
