"""What processes use: their memory and their processor time, from /proc."""

import os
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Memory:
    """In MB (10⁶ bytes), of several processes together.

    `rss` counts what they share once for each, `pss` once in all; `peak` is the sum of the largest `rss` of each.
    """

    rss: float
    pss: float
    peak: float

    @classmethod
    def of(cls, pids: Sequence[int]) -> "Memory":
        """The memory of these processes, from /proc."""
        found = [_fields(pid, "smaps_rollup") | _fields(pid, "status") for pid in pids]
        return cls(*(sum(fields.get(key, 0) for fields in found) * 1024 / 1e6 for key in ("Rss", "Pss", "VmHWM")))


def family(root: int) -> list[int]:
    """A process and all its descendants that are there now."""
    parents = {int(entry.name): parent(int(entry.name)) for entry in Path("/proc").iterdir() if entry.name.isdigit()}
    found = [root]
    for member in found:
        found += [pid for pid, above in parents.items() if above == member]
    return found


def parent(pid: int) -> int | None:
    """The process that started it, None where it has ended."""
    fields = _stat(pid)
    return int(fields[1]) if fields else None


def cpu_seconds(root: int) -> float:
    """What a process and its descendants have computed since they began, those that have ended included."""
    return sum(int(field) for pid in family(root) for field in _stat(pid)[11:15]) / TICKS_PER_SECOND


class Disturbance:
    """How much other processes of the machine, and its host, compute while something is measured."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._before = _others()

    def cpus(self) -> float:
        """Processors that others have used on average since this was made."""
        return max(0.0, _others() - self._before) / (time.monotonic() - self._began)


def _others() -> float:
    """Seconds that all processors have worked, or were withheld by the host, but for this process and its own."""
    user, nice, system, _idle, _waiting, *rest = map(int, Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9])
    return (user + nice + system + sum(rest)) / TICKS_PER_SECOND - cpu_seconds(os.getpid())


def _fields(pid: int, name: str) -> dict[str, int]:
    """The lines `Key: 123 kB` of a file of /proc; none for a process that has ended."""
    try:
        text = Path(f"/proc/{pid}/{name}").read_text()
    except OSError:
        return {}
    return {key: int(number) for key, number in re.findall(r"^(\w+):\s+(\d+) kB", text, re.MULTILINE)}


def _stat(pid: int) -> list[str]:
    """The fields of /proc/<pid>/stat after the name, which may hold spaces; none for a process that has ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []
