"""Memory and processor time of processes, measured with psutil."""

import os
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
from psutil import Process


@dataclass(frozen=True)
class Memory:
    """Memory of several processes together, in MB (10⁶ bytes).

    `rss` counts a page that several of them share once for each, `pss` once, and `uss` only pages that no other process
    shares: unlike `pss`, it does not change when another process that has the same libraries starts or ends. `peak` is
    the sum of the largest `rss` that each has had.
    """

    rss: float
    pss: float
    uss: float
    peak: float

    @classmethod
    def of(cls, members: Iterable[Process]) -> "Memory":
        """Measure these processes. One that has ended counts 0. Raises psutil.AccessDenied for another user's."""
        found = [_bytes(member) for member in members]
        return cls(*(sum(column) / 1e6 for column in zip((0, 0, 0, 0), *found, strict=True)))


def process_tree(root: int) -> list[Process]:
    """The process of this id and all its descendants that exist now; empty if there is no such process."""
    try:
        process = Process(root)
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def cpu_seconds(root: int) -> float:
    """Processor seconds of a process and its descendants, since they started, including children that have ended.

    Of the children that have ended, only those count whose status their parent has collected. A missing process has 0.
    """
    return sum(_cpu_seconds(member) for member in process_tree(root))


class BackgroundLoad:
    """Processor time that other processes and the host of a virtual machine take during a measurement."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._before = _background_cpu_seconds()

    def cpus(self) -> float:
        """The average number of processors that others have used since this object was made."""
        return max(0.0, _background_cpu_seconds() - self._before) / (time.monotonic() - self._began)


def _bytes(process: Process) -> tuple[int, int, int, int]:
    """RSS, PSS, USS and largest RSS of a process; 0 each if it has ended."""
    with suppress(psutil.NoSuchProcess):
        found = process.memory_full_info()
        return found.rss, found.pss, found.uss, _peak(process.pid)
    return 0, 0, 0, 0


def _peak(pid: int) -> int:
    """The largest RSS so far, which psutil does not report on Linux; 0 if the process has ended."""
    with suppress(FileNotFoundError, ProcessLookupError):
        fields = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
        return int(fields.get("VmHWM", "0 kB").split()[0]) * 1024
    return 0


def _cpu_seconds(process: Process) -> float:
    with suppress(psutil.NoSuchProcess):
        times = process.cpu_times()
        return times.user + times.system + times.children_user + times.children_system
    return 0.0


def _background_cpu_seconds() -> float:
    """Seconds that processors were busy or withheld by the host, without those of this process and its descendants."""
    times = psutil.cpu_times()
    worked = times.user + times.nice + times.system + times.irq + times.softirq + times.steal
    return worked - cpu_seconds(os.getpid())
