"""Measures the limits of a device: its fastest matrix product and its memory bandwidth."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch.nn import functional as F

from benchmarks.clock import Stopwatch
from benchmarks.report import Row

REPETITIONS = 8

GPU_LARGER = 4
"""Factor of the sides on a GPU, which needs larger operands than a CPU."""

CPU = torch.device("cpu")


@dataclass(frozen=True)
class Sizes:
    """The operands of the measurements.

    `matrices` are the sides of square matrices. `planes` are the sides of planes of 128 channels, as the 3×3
    convolutions in the median of the style network have them. `copied` is the bytes of a copy, more than caches hold.
    """

    matrices: tuple[int, ...] = (1024, 2048, 4096)
    planes: tuple[int, ...] = (64, 128, 256)
    copied: int = 2**28


SIZES = Sizes()


def peaks(repetitions: int = REPETITIONS, sizes: Sizes = SIZES) -> list[Row]:
    """The peaks of the CPU in fp32 and bf16; see `peak`."""
    return [peak(precision, repetitions, sizes=sizes) for precision in (torch.float32, torch.bfloat16)]


def peak(precision: torch.dtype, repetitions: int = REPETITIONS, on: torch.device = CPU, sizes: Sizes = SIZES) -> Row:
    """The fastest repetition of any size, in GFLOP/s, of torch.mm and of a convolution; the peak is the larger."""
    larger = 1 if on.type == "cpu" else GPU_LARGER
    products = max(_matrix_product_rate(larger * side, precision, repetitions, on) for side in sizes.matrices)
    convolutions = max(_convolution_rate(larger * side, precision, repetitions, on) for side in sizes.planes)
    return {
        "precision": str(precision).removeprefix("torch."),
        "torch.mm GFLOP/s": products,
        "convolution GFLOP/s": convolutions,
        "peak GFLOP/s": max(products, convolutions),
    }


def bandwidth(on: torch.device, repetitions: int = REPETITIONS, sizes: Sizes = SIZES) -> float:
    """Bytes per second that the fastest of several copies reads and writes together."""
    source = torch.zeros(sizes.copied, dtype=torch.uint8, device=on)
    target = torch.ones_like(source)
    return 2 * sizes.copied / _fastest_seconds(lambda: target.copy_(source), repetitions, on)


def _matrix_product_rate(side: int, precision: torch.dtype, repetitions: int, on: torch.device) -> float:
    left, right = (torch.rand(side, side, device=on).to(precision) for _ in range(2))
    return 2 * side**3 / _fastest_seconds(lambda: torch.mm(left, right), repetitions, on) / 1e9


@torch.inference_mode()
def _convolution_rate(side: int, precision: torch.dtype, repetitions: int, on: torch.device) -> float:
    plane = torch.rand(1, 128, side, side, device=on).to(precision, memory_format=torch.channels_last)
    weight = torch.rand(128, 128, 3, 3, device=on).to(precision, memory_format=torch.channels_last)
    work = 2 * 128 * 128 * 9 * side**2
    return work / _fastest_seconds(lambda: F.conv2d(plane, weight, padding=1), repetitions, on) / 1e9


def _fastest_seconds(operation: Callable[[], object], repetitions: int, on: torch.device) -> float:
    """The duration of the fastest call in seconds, after one that is not counted."""
    operation()
    watch = Stopwatch(on)
    for _ in range(repetitions):
        watch.mark()
        operation()
        watch.mark()
    return min(watch.laps())
