"""Forward passes on a GPU: bytes over the bus, graphs in place of launches, copies beside the computing.

A CUDA graph is captured for each (architecture, shape of plane), on weights of its own: those of a network are copied
into them before it runs, unless they are there already. All styles of one architecture share one graph, whatever their
number. Each shape has one size of batch, and what lacks to it is filled up, because libraries choose their algorithms,
and with them the last bits of a result, by the size of the batch. The shapes are those of a ladder (`service.tiling`),
so that graphs are few; those that were not used for the longest time make room for new ones.
"""

import copy
import logging
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Lock
from typing import Generic, NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor

from model_store import TransformNetwork
from service.forward import computed
from service.photographs import Pixels

WARM_UP = 3
"""Passes before a capture, in which libraries choose and allocate."""

MOST_GRAPHS = 32
"""Each has weights, an input and an output of its own; their intermediate planes share one memory."""

Key = tuple[str, torch.dtype, torch.Size, torch.dtype]
"""Architecture with all that makes another computation of it, precision, shape of the batch (N, H, W, 3), depth."""

Name = TypeVar("Name", bound=Hashable)
Thing = TypeVar("Thing")

logger = logging.getLogger(__name__)


class Kept(Generic[Name, Thing]):
    """Things that are costly to make, by name: at most so many, the least recently used one goes first."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._things: OrderedDict[Name, Thing] = OrderedDict()

    def __len__(self) -> int:
        return len(self._things)

    def __iter__(self) -> Iterator[Name]:
        """The names, the least recently used one first."""
        return iter(self._things)

    def get(self, name: Name, make: Callable[[], Thing], part_with: Callable[[], object]) -> Thing:
        """The thing of that name, made where it is not there; `part_with` is called before one goes for it."""
        if name not in self._things:
            while len(self._things) >= self._most:
                part_with()
                self._things.popitem(last=False)
            self._things[name] = make()
        self._things.move_to_end(name)
        return self._things[name]

    def clear(self) -> None:
        """Part with everything."""
        self._things.clear()


@dataclass
class Slots:
    """Where a graph finds its input, its weights and leaves its output: the same memory in every replay."""

    network: TransformNetwork
    planes: Tensor
    statistics: Tensor | None
    holds: TransformNetwork
    """Whose weights are in `network`."""
    pixels: Tensor
    finite: Tensor
    graph: torch.cuda.CUDAGraph


class Landing(NamedTuple):
    """Results on the way to the host's memory, where they are when the event has come."""

    pixels: Tensor
    finite: Tensor
    done: torch.cuda.Event

    def results(self) -> list[Pixels | None]:
        """Wait for them: (H, W, 3) each, None for one that is not finite."""
        self.done.synchronize()
        return [
            result if sound else None for result, sound in zip(self.pixels.numpy(), self.finite.tolist(), strict=True)
        ]


class OnCuda:
    """Networks on one GPU, from several threads; launches come one after the other, waiting for them does not."""

    def __init__(self, device: torch.device) -> None:
        torch.backends.cudnn.deterministic = True
        self._device = device
        self._shrunk = 1
        """By what full passes are divided since memory ran out."""
        self._computing = torch.cuda.Stream(device)
        self._capturing = torch.cuda.Stream(device)
        """Of its own: what another thread launches on a stream that is being captured becomes part of the graph."""
        self._uploads = torch.cuda.Stream(device)
        self._downloads = torch.cuda.Stream(device)
        self._launching = Lock()
        self._memory = torch.cuda.graph_pool_handle()
        self._slots: Kept[Key, Slots] = Kept(MOST_GRAPHS)

    @contextmanager
    def place(self, alone: bool) -> Iterator[None]:  # noqa: ARG002 # a GPU has no lanes of its own
        with torch.cuda.device(self._device), torch.cuda.stream(self._computing):
            yield

    def __call__(
        self, network: TransformNetwork, planes: Sequence[Pixels], statistics: Tensor | None, full: int = 1
    ) -> list[Pixels | None]:
        """As `Forward` says. A network that is not local runs whole images, each alone: their shapes do not repeat."""
        if not network.spec.tileable:
            return [result for plane in planes for result in self.eager(network, [plane], None)]
        results: list[Pixels | None] = []
        while (begin := len(results)) < len(planes):
            own = None if statistics is None else statistics[begin:]
            results += self._launched(network, planes[begin:], own, full).results()
        return results

    def eager(
        self, network: TransformNetwork, planes: Sequence[Pixels], statistics: Tensor | None
    ) -> list[Pixels | None]:
        """As `Forward` says."""
        with self._launching:
            result = computed(network, self._filled(planes, len(planes)), statistics)
            return self._downloaded(*result, len(planes)).results()

    @contextmanager
    def launching(self) -> Iterator[None]:
        """As `Forward` says: a first call of a library from another thread can break a capture."""
        with self._launching:
            yield

    def uploaded(self, batch: Tensor) -> Tensor:
        """As `Forward` says: what is not page-locked would be waited for, with all that was launched before."""
        return batch.pin_memory().to(self._device, non_blocking=True)

    def shrink(self, full: int) -> None:
        """As `Forward` says: where a pass was of several planes, all are of half as many from now on."""
        with self._launching:
            if full > self._shrunk:
                self._shrunk *= 2
            torch.cuda.synchronize(self._device)  # a graph that runs keeps its memory
            self._slots.clear()
            torch.cuda.empty_cache()

    def _launched(
        self, network: TransformNetwork, planes: Sequence[Pixels], statistics: Tensor | None, full: int
    ) -> Landing:
        """A full pass with the first of the planes. Nothing of it but the landing outlives the lock: see `shrink`."""
        with self._launching:
            size = max(1, full // self._shrunk)
            planes, statistics = planes[:size], None if statistics is None else statistics[:size]
            batch = self._filled(planes, size)
            slots = self._captured(network, batch, statistics)
            slots.planes.copy_(batch)
            if slots.statistics is not None and statistics is not None:
                slots.statistics[: len(planes)].copy_(statistics)
            if slots.holds is not network:
                _copy_weights(network, slots.network)
                slots.holds = network
            slots.graph.replay()
            return self._downloaded(slots.pixels.clone(), slots.finite.clone(), len(planes))

    def _captured(self, network: TransformNetwork, batch: Tensor, statistics: Tensor | None) -> Slots:
        """The graph for the network's architecture and the batch's shape, captured at the first use."""
        key = (network.spec.model_dump_json(), _dtype(network), batch.shape, batch.dtype)
        return self._slots.get(key, lambda: self._capture(network, batch, statistics), self._computing.synchronize)

    def _capture(self, network: TransformNetwork, batch: Tensor, statistics: Tensor | None) -> Slots:
        own = copy.deepcopy(network)
        each = None if statistics is None else statistics[:1].repeat(len(batch), 1, 1)
        planes = batch.clone()
        self._capturing.wait_stream(self._computing)
        with torch.cuda.stream(self._capturing):
            for _ in range(WARM_UP):
                computed(own, planes, each)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self._memory, stream=self._capturing, capture_error_mode="thread_local"):
            pixels, finite = computed(own, planes, each)
        self._computing.wait_stream(self._capturing)
        logger.debug("captured %s, %s", network.spec.architecture, tuple(batch.shape))
        return Slots(own, planes, each, network, pixels, finite, graph)

    def _filled(self, planes: Sequence[Pixels], size: int) -> Tensor:
        """(size, H, W, 3) on the device, copied beside the computing; the rest of it is black."""
        depth = torch.uint8 if planes[0].dtype == np.uint8 else torch.uint16
        host = torch.empty((size, *planes[0].shape), dtype=depth, pin_memory=True)
        np.stack(planes, out=host.numpy()[: len(planes)])
        host.numpy()[len(planes) :] = 0
        with torch.cuda.stream(self._uploads):
            batch = host.to(self._device, non_blocking=True)
        batch.record_stream(self._computing)
        self._computing.wait_stream(self._uploads)
        return batch

    def _downloaded(self, pixels: Tensor, finite: Tensor, count: int) -> Landing:
        """The first `count` of the same on the way to the host's memory."""
        self._downloads.wait_stream(self._computing)
        done = torch.cuda.Event(blocking=True)
        with torch.cuda.stream(self._downloads):
            host = tuple(_pinned(tensor[:count]) for tensor in (pixels, finite))
            for tensor in (pixels, finite):
                tensor.record_stream(self._downloads)
            done.record()
        return Landing(host[0], host[1], done)


def _pinned(tensor: Tensor) -> Tensor:
    return torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True).copy_(tensor, non_blocking=True)


def _copy_weights(source: TransformNetwork, target: TransformNetwork) -> None:
    tensors = [[*network.parameters(), *network.buffers()] for network in (target, source)]
    torch._foreach_copy_(tensors[0], tensors[1])


def _dtype(network: TransformNetwork) -> torch.dtype:
    return next(network.parameters()).dtype
