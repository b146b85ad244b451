"""The backend of a GPU: integers over the bus, CUDA graphs instead of launches, copies beside the computation.

A CUDA graph is captured for each (architecture, shape of plane), with weights of its own: those of a network are copied
into them before it runs, unless they are there already, so that all styles of one architecture share one graph. Each
shape has one batch size, and smaller batches are padded, because libraries choose their algorithms, and with them the
last bits of a result, by the size of the batch. Planes have few shapes (`service.engine.tiling`), so that graphs are
few; the least recently used ones make room for new ones. The statistics of thumbnails have graphs as well.
"""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from threading import Lock
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from model_store import Network, TransformNetwork
from service.engine.backend import DType, forward_integers
from service.engine.cuda_graphs import CapturedGraph, Computation, GraphKey, GraphMemory, LruCache
from service.engine.shared_by_gpus import SharedByGpus
from service.engine.statistics_graphs import StatisticsGraphs
from service.imaging.pixels import Pixels

MAX_GRAPHS = 128
"""Enough for twenty architectures, each of which has six: three sides of tiles, 8 and 16 bits a sample.

Each has weights, an input and an output of its own; their intermediate planes share one memory pool. Where memory runs
out, all are dropped and captured again as they are needed.
"""

logger = logging.getLogger(__name__)


class PendingDownload(NamedTuple):
    """Outputs on the way to page-locked host memory; they are there when the event `done` has occurred."""

    pixels: Tensor
    finite: Tensor
    done: torch.cuda.Event

    def wait(self) -> list[Pixels | None]:
        """The outputs, (H, W, 3) each; None for one that is not finite."""
        self.done.synchronize()
        finite = self.finite.tolist()
        return [output if sound else None for output, sound in zip(self.pixels.numpy(), finite, strict=True)]


class CudaBackend:
    """Runs networks on one GPU. Launches are serialised; waiting for their results is not. See `Backend`."""

    def __init__(self, device: torch.device, max_graphs: int = MAX_GRAPHS, shared: SharedByGpus | None = None) -> None:
        """`shared`: by the backends of all GPUs of this process."""
        self._device = device
        self._shared = shared or SharedByGpus()
        self._batch_divisor = 1
        """That of the last launch."""
        self._compute_stream = torch.cuda.Stream(device)
        self._upload_stream = torch.cuda.Stream(device)
        self._download_stream = torch.cuda.Stream(device)
        self._lock = Lock()
        self._graph_memory = GraphMemory(device)
        self._graphs: LruCache[GraphKey, CapturedGraph] = LruCache(max_graphs)
        self._statistics_graphs = StatisticsGraphs(
            lambda network, thumbnail: self._capture(network, [thumbnail], _measure),
            self._compute_stream.synchronize,
        )

    @property
    def graph_keys(self) -> list[GraphKey]:
        """What is captured, the least recently used graph first."""
        return list(self._graphs)

    @property
    def statistics_shapes(self) -> list[torch.Size]:
        """Of the thumbnails whose statistics have graphs."""
        return self._statistics_graphs.shapes

    @contextmanager
    def lane(self, exclusive: bool) -> Iterator[None]:  # noqa: ARG002 # lanes are not parts of a GPU
        """See `Backend`."""
        with torch.cuda.device(self._device), torch.cuda.stream(self._compute_stream):
            yield

    def run(
        self, network: Network, planes: Sequence[Pixels], statistics: Tensor | None, fixed_batch: int = 1
    ) -> list[Pixels | None]:
        """See `Backend`. Whole images, and planes of imported networks, run one by one: their shapes do not repeat."""
        if network.spec.needs_whole_image or network.pads_planes:
            return [output for plane in planes for output in self.run_eager(network, [plane], None)]
        outputs: list[Pixels | None] = []
        while (begin := len(outputs)) < len(planes):
            own = None if statistics is None else statistics[begin:]
            outputs += self._launch(network, planes[begin:], own, fixed_batch).wait()
        return outputs

    def run_eager(self, network: Network, planes: Sequence[Pixels], statistics: Tensor | None) -> list[Pixels | None]:
        """See `Backend`."""
        with self.launch_lock():
            pixels, finite = forward_integers(network, self._upload_padded(planes, len(planes)), statistics)
            download = self._start_download(pixels, finite, len(planes))
            return download.wait()

    def keep_batch(self, network: Network, shape: Sequence[int], sample: DType) -> None:
        """See `Backend`."""
        with self._lock:
            kept = GraphKey.of(network, torch.Size(shape), torch.uint8 if sample == np.uint8 else torch.uint16)
            self._discard([key for key in self._graphs if key.differs_in_batch(kept)])

    def forget(self, network: Network) -> None:
        """See `Backend`."""
        with self._lock:
            self._discard([key for key in self._graphs if key.is_of(network)])
            self._statistics_graphs.forget(network)

    @contextmanager
    def launch_lock(self) -> Iterator[None]:
        """See `Backend`. The first call of a library from another thread can break a capture."""
        with self._lock, self._shared.captures.beside():
            yield

    def statistics(self, network: TransformNetwork, thumbnail: Tensor) -> Tensor:
        """See `Backend`. From memory that is not page-locked, a copy would wait for all that was launched before."""
        on_device = thumbnail.pin_memory().to(self._device, non_blocking=True)
        with self.launch_lock():
            return self._statistics_graphs.measure(network, on_device)

    def reduce_memory(self, fixed_batch: int) -> None:
        """See `Backend`. Where a batch had several planes, all batches are half as large from now on."""
        with self.launch_lock():
            if fixed_batch > self._batch_divisor:
                self._shared.divisor.double(self._batch_divisor)
            self._drop_graphs()
            torch.cuda.empty_cache()

    def still_works(self) -> bool:
        """See `Backend`. The error of a GPU is returned by whatever waits for it."""
        try:
            with self.launch_lock():  # to wait for a stream would break its capture
                torch.cuda.synchronize(self._device)
        except torch.AcceleratorError:
            return False
        return True

    def _discard(self, keys: Sequence[GraphKey]) -> None:
        """Drop some graphs of batches."""
        if keys:
            self._compute_stream.synchronize()  # a running graph keeps its memory
        for key in keys:
            self._graphs.discard(key)

    def _drop_graphs(self) -> None:
        torch.cuda.synchronize(self._device)  # a running graph keeps its memory
        self._graphs.clear()
        self._statistics_graphs.clear()

    def _batch_size(self, fixed_batch: int) -> int:
        """Of the next launch; graphs of the size before are dropped where memory has run out, here or elsewhere."""
        if self._batch_divisor != self._shared.divisor.value:
            self._batch_divisor = self._shared.divisor.value
            self._drop_graphs()
        return max(1, fixed_batch // self._batch_divisor)

    def _launch(
        self, network: Network, planes: Sequence[Pixels], statistics: Tensor | None, fixed_batch: int
    ) -> PendingDownload:
        """Launch a batch of the first planes. Only the download outlives the lock; see `reduce_memory`."""
        with self.launch_lock():
            size = self._batch_size(fixed_batch)
            planes, statistics = planes[:size], None if statistics is None else statistics[:size]
            batch = self._upload_padded(planes, size)
            pixels, finite = self._captured(network, batch, statistics).replay(network, [batch, statistics])
            return self._start_download(pixels, finite, len(planes))

    def _captured(self, network: Network, batch: Tensor, statistics: Tensor | None) -> CapturedGraph:
        """The graph for the network's architecture and the batch's shape, captured at the first use."""
        return self._graphs.get(
            GraphKey.of(network, batch.shape, batch.dtype),
            lambda: self._capture(network, [batch, _for_each(statistics, len(batch))], _forward),
            self._compute_stream.synchronize,
        )

    def _capture(self, network: Network, inputs: Sequence[Tensor | None], computation: Computation) -> CapturedGraph:
        with self._shared.captures.alone():
            captured = self._graph_memory.capture(network, inputs, computation)
        shapes = [tuple(given.shape) for given in inputs if given is not None]
        logger.debug("captured %s, %s", network.spec.architecture, shapes)
        return captured

    def _upload_padded(self, planes: Sequence[Pixels], size: int) -> Tensor:
        """(size, H, W, 3) on the device, padded with black planes; copied beside the computation."""
        dtype = torch.uint8 if planes[0].dtype == np.uint8 else torch.uint16
        host = torch.empty((size, *planes[0].shape), dtype=dtype, pin_memory=True)
        np.stack(planes, out=host.numpy()[: len(planes)])
        host.numpy()[len(planes) :] = 0
        with torch.cuda.stream(self._upload_stream):
            batch = host.to(self._device, non_blocking=True)
        batch.record_stream(self._compute_stream)
        self._compute_stream.wait_stream(self._upload_stream)
        return batch

    def _start_download(self, pixels: Tensor, finite: Tensor, count: int) -> PendingDownload:
        """Start to copy the first `count` outputs to the host."""
        self._download_stream.wait_stream(self._compute_stream)
        done = torch.cuda.Event(blocking=True)
        with torch.cuda.stream(self._download_stream):
            host = tuple(_to_pinned(tensor[:count]) for tensor in (pixels, finite))
            for tensor in (pixels, finite):
                tensor.record_stream(self._download_stream)
            done.record()
        return PendingDownload(host[0], host[1], done)


def _to_pinned(tensor: Tensor) -> Tensor:
    return torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True).copy_(tensor, non_blocking=True)


def _for_each(statistics: Tensor | None, count: int) -> Tensor | None:
    """Statistics (count, 2, K) that mean nothing yet."""
    return None if statistics is None else statistics[:1].repeat(count, 1, 1)


def _forward(network: Network, inputs: Sequence[Tensor | None]) -> tuple[Tensor, ...]:
    planes, statistics = inputs
    assert planes is not None
    return forward_integers(network, planes, statistics)


def _measure(network: Network, inputs: Sequence[Tensor | None]) -> tuple[Tensor, ...]:
    (thumbnail,) = inputs
    assert isinstance(network, TransformNetwork)
    assert thumbnail is not None
    return (network.statistics(thumbnail),)
