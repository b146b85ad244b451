"""What the backends of all GPUs of one process share: the size of their batches, and whose turn it is to capture."""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Condition, Lock


class BatchDivisor:
    """By which all fixed batches are divided since memory ran out on one of the GPUs."""

    def __init__(self) -> None:
        self.value = 1
        self._lock = Lock()

    def double(self, seen: int) -> None:
        """Memory ran out in a batch that was divided by `seen`. Where it is more by now, that has been dealt with."""
        with self._lock:
            if self.value == seen:
                self.value *= 2


class CaptureTurns:
    """Captures of CUDA graphs run alone, since they free cached memory of all GPUs, which would break another one."""

    def __init__(self) -> None:
        self._condition = Condition()
        self._launching = 0
        self._capturing = False
        self._captures = 0
        """That run or wait: no launch begins before they have ended."""

    @contextmanager
    def beside(self) -> Iterator[None]:
        """For the length of the block others launch as well, and nothing is captured but by the block itself."""
        with self._condition:
            self._condition.wait_for(lambda: not self._captures)
            self._launching += 1
        try:
            yield
        finally:
            with self._condition:
                self._launching -= 1
                self._condition.notify_all()

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Inside of such a block: for the length of this one, nobody else launches or captures."""
        with self._condition:
            self._captures += 1
            self._launching -= 1
            self._condition.notify_all()
            self._condition.wait_for(lambda: not self._launching and not self._capturing)
            self._capturing = True
        try:
            yield
        finally:
            with self._condition:
                self._captures -= 1
                self._capturing = False
                self._launching += 1
                self._condition.notify_all()


class SharedByGpus:
    """Given to each `CudaBackend` of a process."""

    def __init__(self) -> None:
        self.divisor = BatchDivisor()
        self.captures = CaptureTurns()
