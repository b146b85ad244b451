"""`roofline`: the time of each layer of the networks for inference against the limits of arithmetic and memory.

A layer that moves many bytes per operation is bound by the memory, the others by the arithmetic (Williams, Waterman
and Patterson 2009). Both limits are measured, with large matrix products and with copies.
"""

import copy
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode
from torch.utils.hooks import RemovableHandle

from benchmarks import limits, networks
from benchmarks.clock import Stopwatch, selected
from benchmarks.report import Row, Tables, Value
from benchmarks.stats import median
from model_store import PRECISIONS, Architecture, LayerForm, TransformNetwork, for_inference
from service.engine.device import choose_devices, choose_precisions, configure_torch
from service.engine.layer_forms import choose_forms, seconds_on_gpu

Build = Callable[[], TransformNetwork]
NETWORKS: Mapping[str, Build] = {"style": networks.style, "x4": networks.upscale_4}


@dataclass(frozen=True)
class Work:
    """Floating-point operations of a layer in one forward pass, and its bytes if each plane and weight moves once."""

    flops: int
    bytes: int


@dataclass(frozen=True)
class Roofline:
    """Peak rates of the device: floating-point operations and bytes per second."""

    flops: float
    bytes: float

    def seconds(self, work: Work) -> float:
        """The shortest time that the work can take."""
        return max(work.flops / self.flops, work.bytes / self.bytes)


def add_options(parser: ArgumentParser) -> None:
    """Add the options of this benchmark."""
    parser.add_argument("--networks", nargs="+", choices=tuple(NETWORKS), default=tuple(NETWORKS))
    parser.add_argument("--side", type=int, default=1024, help="of the result: of a tile with its halos cut off")
    parser.add_argument("--batch", type=int, default=1, help="tiles per forward pass")
    parser.add_argument("--rounds", type=int, default=9, help="passes, of which medians are given")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    parser.add_argument("--precision", choices=("auto", *PRECISIONS), default="auto", help="auto: the service's")


def run(chosen: Namespace, built: Mapping[str, Build] = NETWORKS, sizes: limits.Sizes = limits.SIZES) -> Tables:
    """Measure the limits, with operands of these sizes, and each chosen network; one table each.

    With torch's settings of the service, without which a GPU computes fp32 in TF32.
    """
    if chosen.quick:
        chosen.side, chosen.rounds = 64, 1
    configure_torch()
    device = choose_devices([chosen.device])[0]
    with selected(device):
        return _tables(chosen, device, built, sizes)


def _tables(chosen: Namespace, device: torch.device, built: Mapping[str, Build], sizes: limits.Sizes) -> Tables:
    precision = choose_precisions(chosen.precision, device)[0]
    found = limits.peak(precision, 2 if chosen.quick else limits.REPETITIONS, device, sizes)
    bandwidth = limits.bandwidth(device, sizes=sizes)
    roof = Roofline(float(found["peak GFLOP/s"] or 0) * 1e9, bandwidth)
    tables: dict[str, list[Row]] = {"Limits": [{**found, "GB/s": bandwidth / 1e9}]}
    for name in chosen.networks:
        network = built[name]()
        works = layer_work(for_inference(network, precision), _plane(network, chosen.side, chosen.batch))
        fast = for_inference(network, precision, _served_forms(network, precision, device))
        rows = list(_rows(fast, works, chosen, device, roof))
        tables[f"{name}, {chosen.side}×{chosen.side}, batch {chosen.batch}"] = rows
    return tables


def _served_forms(network: TransformNetwork, precision: torch.dtype, device: torch.device) -> Mapping[int, LayerForm]:
    """The forms of thin layers in which the service computes the network: on a GPU the fastest ones."""
    return choose_forms(network, precision, seconds_on_gpu(device)) if device.type == "cuda" else {}


def _rows(
    fast: TransformNetwork, works: Sequence[Work], chosen: Namespace, device: torch.device, roof: Roofline
) -> Iterator[Row]:
    """A row for each layer, one for the time outside of layers, and one for the whole network.

    `works`: of the layers in their usual forms, whatever else those do that are measured.
    """
    plane = _plane(fast, chosen.side, chosen.batch)
    times, whole = _measure(fast.to(device), plane.to(device), chosen.rounds)
    names = str(Architecture.parse(fast.spec.architecture)).split(",")
    labels = [label for name in names for label in _expand_repeats(name)]
    for label, work, seconds in zip(labels, works, times, strict=True):
        yield _row(label, work, seconds, whole, roof)
    yield {"layer": "the rest", "ms": (whole - sum(times)) * 1000, "share": 1 - sum(times) / whole}
    total = Work(sum(work.flops for work in works), sum(work.bytes for work in works))
    least = sum(map(roof.seconds, works))
    yield _row("all", total, whole, whole, roof) | {"share of the roofline": least / whole}


def _expand_repeats(name: str) -> list[str]:
    """Repeat a layer as often as the notation says: R64*5 is five blocks."""
    layer, _, count = name.partition("*")
    return [layer] * int(count or 1)


def _row(label: str, work: Work, seconds: float, whole: float, roof: Roofline) -> dict[str, Value]:
    return {
        "layer": label,
        "ms": seconds * 1000,
        "share": seconds / whole,
        "GFLOP": work.flops / 1e9,
        "MB": work.bytes / 1e6,
        "FLOP/byte": work.flops / work.bytes,
        "GFLOP/s": work.flops / seconds / 1e9,
        "share of peak": work.flops / seconds / roof.flops,
        "bound by": "arithmetic" if work.flops / roof.flops >= work.bytes / roof.bytes else "memory",
        "share of the roofline": roof.seconds(work) / seconds,
    }


def _plane(fast: TransformNetwork, side: int, batch: int) -> Tensor:
    """Random input (N, 3, H, W) of `transform`, with the halos for a result of this side."""
    inner = side // fast.scale
    outer = inner + sum(fast.halos(inner))
    return torch.rand(batch, 3, outer, outer).contiguous(memory_format=torch.channels_last)


@torch.no_grad()
def layer_work(fast: TransformNetwork, plane: Tensor) -> list[Work]:
    """The work of each layer for a plane, counted on the meta device. Thumbnail normalisation is not supported."""
    meta_copy = copy.deepcopy(fast).to("meta")
    taken: dict[nn.Module, Tensor] = {}
    for layer in meta_copy.layers:
        layer.register_forward_pre_hook(lambda layer, inputs: taken.update({layer: inputs[0]}))
    meta_copy.transform(plane.to("meta"))
    return [_work(layer, taken[layer]) for layer in meta_copy.layers]


def _work(layer: nn.Module, plane: Tensor) -> Work:
    moved: list[int] = []
    for part in _parts_that_move_planes(layer):
        part.register_forward_hook(partial(_record_bytes, moved))
    with FlopCounterMode(display=False) as counter:
        layer(plane)
    return Work(counter.get_total_flops(), sum(moved))


def _parts_that_move_planes(layer: nn.Module) -> Sequence[nn.Module]:
    """The modules of a layer that read and write planes: those with a convolution, and the layer itself."""
    return [part for part in layer.modules() if part is layer or hasattr(part, "conv")]


def _record_bytes(moved: list[int], part: nn.Module, inputs: tuple[Tensor], output: Tensor) -> None:
    weights = sum(weight.numel() for weight in part.parameters()) if hasattr(part, "conv") else 0
    moved.append((inputs[0].numel() + weights + output.numel()) * output.element_size())


@torch.inference_mode()
def _measure(fast: TransformNetwork, plane: Tensor, rounds: int) -> tuple[list[float], float]:
    """Median seconds of each layer, and of the whole network without timers on its layers, after warming up."""
    whole = _measure_whole(fast, plane, rounds)
    watch = Stopwatch(plane.device)
    times: list[list[float]] = []
    for _ in range(rounds):
        handles = list(_time_layers(fast.layers, watch))
        fast.transform(plane)
        for handle in handles:
            handle.remove()
        times.append(watch.laps())
    return [median(each) for each in zip(*times, strict=True)], whole


def _measure_whole(fast: TransformNetwork, plane: Tensor, rounds: int) -> float:
    watch = Stopwatch(plane.device)
    for _ in range(rounds + 2):
        watch.mark()
        fast.transform(plane)
        watch.mark()
    return median(watch.laps()[2:])


def _time_layers(layers: nn.Sequential, watch: Stopwatch) -> Iterator[RemovableHandle]:
    for layer in layers:
        yield layer.register_forward_pre_hook(lambda *_: watch.mark())
        yield layer.register_forward_hook(lambda *_: watch.mark())
