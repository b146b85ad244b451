import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from model_store.processors import available_cpus, cpu_quotas


def written(root: Path, files: Mapping[str, str]) -> tuple[Path, Path]:
    """`groups`, and what is mounted beside it."""
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root / "groups", root / "mounted"


@pytest.mark.parametrize(
    ("files", "quotas"),
    [
        ({}, []),
        ({"groups": ""}, []),
        ({"groups": "odd\n", "mounted/cpu.max": "odd"}, []),
        ({"groups": "0::/\n"}, []),
        ({"groups": "0::/\n", "mounted/cpu.max": "200000 100000\n"}, [2.0]),
        ({"groups": "0::/\n", "mounted/cpu.max": "max 100000\n"}, []),
        ({"groups": "0::/\n", "mounted/cpu.max": "50000 0\n"}, []),
        (
            {
                "groups": "0::/a/b\n",
                "mounted/a/b/cpu.max": "max 100000",
                "mounted/a/cpu.max": "150000 100000",
                "mounted/cpu.max": "300000 100000",
            },
            [1.5, 3.0],
        ),
        ({"groups": "0::/../elsewhere\n", "mounted/cpu.max": "200000 100000"}, [2.0]),
        (
            {
                "groups": "5:memory:/a\n4:cpu,cpuacct:/a\n",
                "mounted/cpu,cpuacct/a/cpu.cfs_quota_us": "-1",
                "mounted/cpu,cpuacct/a/cpu.cfs_period_us": "100000",
                "mounted/cpu,cpuacct/cpu.cfs_quota_us": "250000",
                "mounted/cpu,cpuacct/cpu.cfs_period_us": "100000",
            },
            [2.5],
        ),
        (
            {
                "groups": "1:cpu:/of/the/machine\n0::/\n",
                "mounted/cpu/cpu.cfs_quota_us": "50000",
                "mounted/cpu/cpu.cfs_period_us": "100000",
            },
            [0.5],
        ),
    ],
)
def test_quotas_are_those_of_a_group_and_of_the_groups_above_it(
    tmp_path: Path, files: Mapping[str, str], quotas: list[float]
) -> None:
    assert list(cpu_quotas(*written(tmp_path, files))) == quotas


@pytest.mark.parametrize(("quota", "cpus"), [("10000", 1), ("100000", 1), ("150000", 2), ("200000", 2), ("max", 3)])
def test_processors_are_no_more_than_the_quota_rounded_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quota: str, cpus: int
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2})
    files = written(tmp_path, {"groups": "0::/\n", "mounted/cpu.max": f"{quota} 100000"})
    assert available_cpus(*files) == cpus


def test_without_a_quota_processors_are_those_that_the_process_is_bound_to(tmp_path: Path) -> None:
    assert available_cpus(tmp_path / "none", tmp_path) == len(os.sched_getaffinity(0))
