"""How many processors this process may use: those that it is bound to, and no more than its control group's quota."""

import math
import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path, PurePosixPath

GROUPS = Path("/proc/self/cgroup")
"""Which control groups this process is in."""

MOUNTED = Path("/sys/fs/cgroup")
"""Where they are mounted, in containers and in distributions."""


def available_cpus(groups: Path = GROUPS, mounted: Path = MOUNTED) -> int:
    """One or more. A quota, such as that of `docker run --cpus`, is rounded up, as Kubernetes does."""
    return min([len(os.sched_getaffinity(0)), *(math.ceil(quota) for quota in cpu_quotas(groups, mounted))])


def cpu_quotas(groups: Path, mounted: Path) -> Iterator[float]:
    """The processors that the groups of the process, and those above them, allow; nothing where they have no quota.

    By cgroups(7): of version 2 in cpu.max, of version 1 in cpu.cfs_quota_us. A container may see its group as the root.
    """
    for line in _read(groups).splitlines():
        number, controllers, path = (*line.split(":", 2), "", "")[:3]
        if number == "0":
            yield from _found(mounted, path, _of_version_2)
        elif "cpu" in controllers.split(","):
            for folder in {"cpu", controllers}:
                yield from _found(mounted / folder, path, _of_version_1)


def _found(root: Path, path: str, quota: Callable[[Path], float]) -> Iterator[float]:
    """The quotas of a group and of those above it; files that are missing or odd have none."""
    group = PurePosixPath("/", path)
    for each in (group, *group.parents):
        with suppress(ValueError, ZeroDivisionError):
            found = quota(root / each.relative_to("/"))
            if 0 < found < math.inf:
                yield found


def _of_version_2(group: Path) -> float:
    """`200000 100000` is two processors, `max 100000` no quota."""
    used, period = _read(group / "cpu.max").split()
    return int(used) / int(period)


def _of_version_1(group: Path) -> float:
    """A quota of -1 is none."""
    return int(_read(group / "cpu.cfs_quota_us")) / int(_read(group / "cpu.cfs_period_us"))


def _read(file: Path) -> str:
    try:
        return file.read_text()
    except OSError:
        return ""
