"""The backend of a GPU: integers over the bus, CUDA graphs instead of launches, copies beside the computation.

A CUDA graph is captured for each (architecture, shape of plane), with weights of its own: those of a network are copied
into them before it runs, unless they are there already, so that all styles of one architecture share one graph. Each
shape has one batch size, and smaller batches are padded, because libraries choose their algorithms, and with them the
last bits of a result, by the size of the batch. Planes have few shapes (`service.engine.tiling`), so that graphs are
few; the least recently used ones make room for new ones.
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

from model_store import Network
from service.engine.backend import DType, forward_integers
from service.engine.shared_by_gpus import SharedByGpus
from service.imaging.pixels import Pixels

WARM_UP_RUNS = 3
"""Runs before a capture, in which libraries choose their algorithms and allocate memory."""

MAX_GRAPHS = 128
"""Enough for twenty architectures, each of which has six: three sides of tiles, 8 and 16 bits a sample.

Each has weights, an input and an output of its own; their intermediate planes share one memory pool. Where memory runs
out, all are dropped and captured again as they are needed.
"""


Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")

logger = logging.getLogger(__name__)


class LruCache(Generic[Key, Value]):
    """At most `capacity` values that are costly to make; the least recently used one is evicted first."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._values: OrderedDict[Key, Value] = OrderedDict()

    def __len__(self) -> int:
        return len(self._values)

    def __iter__(self) -> Iterator[Key]:
        """The keys, the least recently used one first."""
        return iter(self._values)

    def get(self, key: Key, make: Callable[[], Value], before_eviction: Callable[[], object]) -> Value:
        """The value of the key, made where it is not cached; `before_eviction` is called before one is evicted."""
        if key not in self._values:
            while len(self._values) >= self._capacity:
                before_eviction()
                self._values.popitem(last=False)
            self._values[key] = make()
        self._values.move_to_end(key)
        return self._values[key]

    def discard(self, key: Key) -> None:
        """Evict one value, if it is cached."""
        self._values.pop(key, None)

    def clear(self) -> None:
        """Evict everything."""
        self._values.clear()


class GraphKey(NamedTuple):
    """What a graph is captured for."""

    spec: str
    """The network's, as JSON."""
    precision: torch.dtype
    shape: torch.Size
    """Of the batch, (N, H, W, 3)."""
    sample: torch.dtype
    variant: str = ""
    """In which forms its thin layers are computed."""

    def differs_in_batch(self, other: "GraphKey") -> bool:
        """Whether the other one is the same but for the size of the batch."""
        return self != other and self._replace(shape=other.shape) == other and self.shape[1:] == other.shape[1:]


@dataclass
class CapturedGraph:
    """A CUDA graph, and the memory from which it reads its input and its weights and to which it writes its output."""

    network: Network
    planes: Tensor
    statistics: Tensor | None
    weights_of: Network
    """The network whose weights are in `network`."""
    pixels: Tensor
    finite: Tensor
    graph: torch.cuda.CUDAGraph


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
        self._capture_stream = torch.cuda.Stream(device)
        """Separate, since whatever another thread launches on a stream during a capture becomes part of the graph."""
        self._upload_stream = torch.cuda.Stream(device)
        self._download_stream = torch.cuda.Stream(device)
        self._lock = Lock()
        self._graph_pool = torch.cuda.graph_pool_handle()
        self._graphs: LruCache[GraphKey, CapturedGraph] = LruCache(max_graphs)

    @property
    def graph_keys(self) -> list[GraphKey]:
        """What is captured, the least recently used graph first."""
        return list(self._graphs)

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
            kept = _graph_key(network, torch.Size(shape), torch.uint8 if sample == np.uint8 else torch.uint16)
            others = [key for key in self._graphs if key.differs_in_batch(kept)]
            if others:
                self._compute_stream.synchronize()  # a running graph keeps its memory
            for key in others:
                self._graphs.discard(key)

    @contextmanager
    def launch_lock(self) -> Iterator[None]:
        """See `Backend`. The first call of a library from another thread can break a capture."""
        with self._lock, self._shared.captures.beside():
            yield

    def upload(self, tensor: Tensor) -> Tensor:
        """See `Backend`. From memory that is not page-locked, a copy would wait for all that was launched before."""
        return tensor.pin_memory().to(self._device, non_blocking=True)

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

    def _drop_graphs(self) -> None:
        torch.cuda.synchronize(self._device)  # a running graph keeps its memory
        self._graphs.clear()

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
            captured = self._captured(network, batch, statistics)
            captured.planes.copy_(batch)
            if captured.statistics is not None and statistics is not None:
                captured.statistics[: len(planes)].copy_(statistics)
            if captured.weights_of is not network:
                _copy_weights(network, captured.network)
                captured.weights_of = network
            captured.graph.replay()
            return self._start_download(captured.pixels.clone(), captured.finite.clone(), len(planes))

    def _captured(self, network: Network, batch: Tensor, statistics: Tensor | None) -> CapturedGraph:
        """The graph for the network's architecture and the batch's shape, captured at the first use."""
        return self._graphs.get(
            _graph_key(network, batch.shape, batch.dtype),
            lambda: self._capture_alone(network, batch, statistics),
            self._compute_stream.synchronize,
        )

    def _capture_alone(self, network: Network, batch: Tensor, statistics: Tensor | None) -> CapturedGraph:
        with self._shared.captures.alone():
            return self._capture(network, batch, statistics)

    def _capture(self, network: Network, batch: Tensor, statistics: Tensor | None) -> CapturedGraph:
        own = copy.deepcopy(network)
        each = None if statistics is None else statistics[:1].repeat(len(batch), 1, 1)
        planes = batch.clone()
        self._capture_stream.wait_stream(self._compute_stream)
        with torch.cuda.stream(self._capture_stream):
            for _ in range(WARM_UP_RUNS):
                forward_integers(own, planes, each)
        graph, stream = torch.cuda.CUDAGraph(), self._capture_stream
        with torch.cuda.graph(graph, pool=self._graph_pool, stream=stream, capture_error_mode="thread_local"):
            pixels, finite = forward_integers(own, planes, each)
        self._compute_stream.wait_stream(self._capture_stream)
        logger.debug("captured %s, %s", network.spec.architecture, tuple(batch.shape))
        return CapturedGraph(own, planes, each, network, pixels, finite, graph)

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


def _copy_weights(source: Network, target: Network) -> None:
    tensors = [[*network.parameters(), *network.buffers()] for network in (target, source)]
    torch._foreach_copy_(tensors[0], tensors[1])


def _graph_key(network: Network, shape: torch.Size, sample: torch.dtype) -> GraphKey:
    return GraphKey(network.spec.model_dump_json(), _dtype(network), shape, sample, network.variant)


def _dtype(network: Network) -> torch.dtype:
    return next(network.parameters()).dtype
