"""What a device does at best: how fast it multiplies matrices, and moves bytes."""

from collections.abc import Callable

import torch
from torch.nn import functional as F

from benchmarks.clock import Stopwatch
from benchmarks.report import Row

MATRIX_SIDES = (1024, 2048, 4096)
PLANE_SIDES = (64, 128, 256)
"""Of the planes of 128 channels that a 3×3 convolution of the style network's body takes."""

REPETITIONS = 8

GPU_LARGER = 4
"""So many times the sides fill a GPU as these fill a processor."""

COPIED_BYTES = 2**28

CPU = torch.device("cpu")


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
        watch.mark()
        operation()
        watch.mark()
    return min(watch.laps())
