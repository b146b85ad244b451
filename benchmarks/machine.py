"""What was measured on: processor, software, and how fast it multiplies matrices at best."""

import os
import platform
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch
from torch.nn import functional as F

from benchmarks.report import Row
from model_store.allocator import SETTINGS

PACKAGES = ("pastiche", "torch", "pillow", "fastapi", "uvicorn", "uvloop", "litserve", "openvino")

ALLOCATOR = {variable: str(value) for variable, (_, value) in SETTINGS.items()}
"""What our service tells glibc when it starts: keep the memory of activations, do not return it after each image."""

MATRIX_SIDES = (1024, 2048, 4096)
PLANE_SIDES = (64, 128, 256)
"""Of the planes of 128 channels that a 3×3 convolution of the style network's body takes."""

REPETITIONS = 8

GPU_LARGER = 4
"""So many times the sides fill a GPU as these fill a processor."""

COPIED_BYTES = 2**28

CPU = torch.device("cpu")


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


def peaks(repetitions: int = REPETITIONS) -> list[Row]:
    """The fastest matrix products in fp32 and bf16, in GFLOP/s: of torch.mm and of a convolution of oneDNN."""
    return [peak(precision, repetitions) for precision in (torch.float32, torch.bfloat16)]


def peak(precision: torch.dtype, repetitions: int = REPETITIONS, on: torch.device = CPU) -> Row:
    """The best repetition of the best shape, by torch.mm and by a convolution; `peak` is the larger of the two."""
    larger = 1 if on.type == "cpu" else GPU_LARGER
    products = max(_product(larger * side, precision, repetitions, on) for side in MATRIX_SIDES)
    convolutions = max(_convolution(larger * side, precision, repetitions, on) for side in PLANE_SIDES)
    return {
        "precision": str(precision).removeprefix("torch."),
        "torch.mm GFLOP/s": products,
        "convolution GFLOP/s": convolutions,
        "peak GFLOP/s": max(products, convolutions),
    }


def bandwidth(on: torch.device, repetitions: int = REPETITIONS) -> float:
    """Bytes a second that a copy reads and writes, of a plane that no cache holds."""
    source = torch.zeros(COPIED_BYTES, dtype=torch.uint8, device=on)
    target = torch.ones_like(source)
    return 2 * COPIED_BYTES / _fastest(lambda: target.copy_(source), repetitions, on)


def device(name: str) -> torch.device:
    """The device of that name; `auto` is a GPU where there is one."""
    return torch.device(name if name != "auto" else "cuda" if torch.cuda.is_available() else "cpu")


class Stopwatch:
    """Times stretches of work on a device, by its own clock where it has one."""

    def __init__(self, on: torch.device) -> None:
        self._cuda = on.type == "cuda"
        self._marks: list[float] = []
        self._events: list[torch.cuda.Event] = []

    def begin(self) -> None:
        """A stretch begins."""
        self._mark()

    def end(self) -> None:
        """It has ended."""
        self._mark()

    def laps(self) -> list[float]:
        """Seconds of each stretch since this was last asked."""
        if self._cuda:
            torch.cuda.synchronize()
            first = self._events[:1]
            self._marks = [start.elapsed_time(event) / 1000 for start in first for event in self._events]
        marks, self._marks, self._events = self._marks, [], []
        return [end - begin for begin, end in zip(marks[::2], marks[1::2], strict=True)]

    def _mark(self) -> None:
        if not self._cuda:
            self._marks.append(time.perf_counter())
            return
        self._events.append(torch.cuda.Event(enable_timing=True))
        self._events[-1].record()


def _product(side: int, precision: torch.dtype, repetitions: int, on: torch.device) -> float:
    left, right = (torch.rand(side, side, device=on).to(precision) for _ in range(2))
    return 2 * side**3 / _fastest(lambda: torch.mm(left, right), repetitions, on) / 1e9


@torch.inference_mode()
def _convolution(side: int, precision: torch.dtype, repetitions: int, on: torch.device) -> float:
    plane = torch.rand(1, 128, side, side, device=on).to(precision, memory_format=torch.channels_last)
    weight = torch.rand(128, 128, 3, 3, device=on).to(precision, memory_format=torch.channels_last)
    work = 2 * 128 * 128 * 9 * side**2
    return work / _fastest(lambda: F.conv2d(plane, weight, padding=1), repetitions, on) / 1e9


def _fastest(operation: Callable[[], object], repetitions: int, on: torch.device) -> float:
    """Seconds of the fastest call, after one that does not count."""
    operation()
    watch = Stopwatch(on)
    for _ in range(repetitions):
        watch.begin()
        operation()
        watch.end()
    return min(watch.laps())


def timed(operation: Callable[[], object]) -> float:
    """Seconds of one call."""
    began = time.perf_counter()
    operation()
    return time.perf_counter() - began


def _processor() -> str:
    """The name and family of the processor: virtual machines often tell no more than the maker's name."""
    lines = (line.partition(":") for line in Path("/proc/cpuinfo").read_text().splitlines())
    fields = {key.strip(): value.strip() for key, _, value in lines}
    name = fields.get("model name", platform.machine())
    return f"{name}, family {fields['cpu family']}, model {fields['model']}" if "cpu family" in fields else name
