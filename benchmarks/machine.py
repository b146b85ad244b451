"""The machine and the software of a measurement."""

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from model_store.allocator import SETTINGS
from service.settings import Settings

PACKAGES = ("pastiche", "torch", "pillow", "fastapi", "uvicorn", "uvloop", "litserve", "openvino")

ALLOCATOR = {variable: str(value) for variable, (_, value) in SETTINGS.items()}
"""Environment variables with the allocator settings of the service."""

SECRETS = {
    f"PASTICHE_{name.upper()}" for name, field in Settings.model_fields.items() if "Secret" in str(field.annotation)
}
"""Those whose values are not recorded."""


def describe() -> dict[str, object]:
    """The processor, memory, package versions and settings, as they are saved with each result."""
    return {
        "processor": _processor(),
        "cpus": len(os.sched_getaffinity(0)),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
        "features": sorted(name for name, present in torch.cpu.get_capabilities().items() if present is True),
        "torch_threads": torch.get_num_threads(),
        "gpus": _gpus(),
        "python": platform.python_version(),
        "packages": {name: found for name in PACKAGES if (found := installed(name))},
        "environment": _environment(),
    }


def environment(allocator: bool) -> dict[str, str]:
    """The environment variables of this process, with the allocator settings of the service or without them."""
    return {name: value for name, value in os.environ.items() if name not in ALLOCATOR} | (
        ALLOCATOR if allocator else {}
    )


def installed(package: str) -> str | None:
    """The version of a distribution, None if it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _environment() -> dict[str, str]:
    """The variables that change what is measured: settings of the service, which servers inherit, are among them."""
    names = (*ALLOCATOR, "OMP_NUM_THREADS", *(name for name in os.environ if name.startswith("PASTICHE_")))
    return {name: "(secret)" if name in SECRETS else os.environ[name] for name in names if name in os.environ}


def _gpus() -> list[str]:
    """Name, memory and CUDA version of each GPU that is visible."""
    found = [torch.cuda.get_device_properties(number) for number in range(torch.cuda.device_count())]
    return [f"{gpu.name}, {gpu.total_memory / 1e9:.0f} GB, CUDA {torch.version.cuda}" for gpu in found]


def _processor() -> str:
    """Name, family and model of the processor. Virtual machines often report only the manufacturer as the name."""
    lines = (line.partition(":") for line in Path("/proc/cpuinfo").read_text().splitlines())
    fields = {key.strip(): value.strip() for key, _, value in lines}
    name = fields.get("model name", platform.machine())
    return f"{name}, family {fields['cpu family']}, model {fields['model']}" if "cpu family" in fields else name
