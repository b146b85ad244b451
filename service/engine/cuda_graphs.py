"""CUDA graphs of networks: what they are captured for, how they run with other weights, and which of them are kept."""

import copy
import logging
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Generic, NamedTuple, Protocol, TypeVar
from weakref import ReferenceType, ref

import torch
from torch import Tensor

from model_store import Network
from model_store.graph_capture import GraphCapture

WARM_UP_RUNS = 3
"""Runs before a capture, in which libraries choose their algorithms and allocate memory."""

CAPTURE = "captur"
"""In all messages of CUDA and of torch about what a capture does not allow, and about one that has failed by that."""

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")

Computation = Callable[[Network, Sequence[Tensor | None]], tuple[Tensor, ...]]
"""What a graph does: a network and its inputs to the outputs."""

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

    def __contains__(self, key: Key) -> bool:
        return key in self._values

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
    """Of the batch, (N, H, W, 3), or of the thumbnail, (1, 3, h, w)."""
    sample: torch.dtype
    variant: str = ""
    """In which forms its thin layers are computed."""

    @classmethod
    def of(cls, network: Network, shape: torch.Size, sample: torch.dtype) -> "GraphKey":
        """For a network and an input of that shape and type."""
        precision = next(network.parameters()).dtype
        return cls(network.spec.model_dump_json(), precision, shape, sample, network.variant)

    def is_of(self, network: Network) -> bool:
        """Whether it is captured for networks of this one's architecture, precision and forms of layers."""
        return self == GraphKey.of(network, self.shape, self.sample)

    def differs_in_batch(self, other: "GraphKey") -> bool:
        """Whether the other one is the same but for the size of the batch."""
        return self != other and self._replace(shape=other.shape) == other and self.shape[1:] == other.shape[1:]


class Graph(Protocol):
    """See `torch.cuda.CUDAGraph`."""

    def replay(self) -> object:
        """Compute from what the memory of the inputs contains, into that of the outputs."""


@dataclass
class Launches:
    """Stands in for a graph that could not be captured: computes the same, with all its launches."""

    compute: Callable[[], tuple[Tensor, ...]]
    outputs: tuple[Tensor, ...]

    def replay(self) -> None:
        """See `Graph`."""
        for output, found in zip(self.outputs, self.compute(), strict=True):
            output.copy_(found)


@dataclass
class CapturedGraph:
    """A CUDA graph, and the memory from which it reads its input and its weights and to which it writes its output."""

    network: Network
    inputs: Sequence[Tensor | None]
    weights_of: ReferenceType[Network] | None
    """The network whose weights are in `network`; None of a mixture, where they could not be copied. What is served no
    more is not kept on the device for that."""
    outputs: tuple[Tensor, ...]
    graph: Graph

    def replay(self, network: Network, inputs: Sequence[Tensor | None]) -> tuple[Tensor, ...]:
        """The outputs for a network of this architecture and for inputs, of which those of the last planes may lack."""
        for memory, given in zip(self.inputs, inputs, strict=True):
            if memory is not None and given is not None:
                memory[: len(given)].copy_(given)
        if self.weights_of is None or self.weights_of() is not network:
            self._take_weights(network)
        self.graph.replay()
        return tuple(output.clone() for output in self.outputs)

    def _take_weights(self, network: Network) -> None:
        self.weights_of = None
        _copy_weights(network, self.network)
        self.weights_of = ref(network)


class GraphMemory:
    """Captures graphs on one device, whose intermediate planes share one memory pool.

    Where one cannot be captured none is from then on: all have the same operations.
    """

    def __init__(self, device: torch.device) -> None:
        self._capture = GraphCapture(device)
        self._failed = False

    def capture(self, network: Network, inputs: Sequence[Tensor | None], computation: Computation) -> CapturedGraph:
        """A graph of the computation for inputs of these shapes, or else what launches it each time."""
        own = copy.deepcopy(network)
        memory = [None if given is None else given.clone() for given in inputs]
        compute = partial(computation, own, memory)
        outputs, graph = self._captured(compute) or _launched(compute)
        return CapturedGraph(own, memory, ref(network), outputs, graph)

    def _captured(self, compute: Callable[[], tuple[Tensor, ...]]) -> tuple[tuple[Tensor, ...], Graph] | None:
        """None where that is not possible. A lack of memory is raised: it may have been the batch's."""
        if self._failed:
            return None
        for _ in range(WARM_UP_RUNS):
            self._capture.warm_up(compute)
        try:
            with self._capture.capture() as graph:
                outputs = compute()
        except RuntimeError as error:
            if CAPTURE not in str(error):
                raise
            self._failed = True
            logger.warning("CUDA graphs are not used, and batches are slower: %s", error)
            return None
        return outputs, graph


def _launched(compute: Callable[[], tuple[Tensor, ...]]) -> tuple[tuple[Tensor, ...], Graph]:
    outputs = compute()
    return outputs, Launches(compute, outputs)


def _copy_weights(source: Network, target: Network) -> None:
    """One copy for each precision: lists of several ones, torch copies tensor by tensor."""
    by_precision = defaultdict[torch.dtype, list[tuple[Tensor, Tensor]]](list)
    for own, given in zip(_tensors(target), _tensors(source), strict=True):
        by_precision[own.dtype].append((own, given))
    for pairs in by_precision.values():
        torch._foreach_copy_([own for own, _ in pairs], [given for _, given in pairs])


def _tensors(network: Network) -> list[Tensor]:
    return [*network.parameters(), *network.buffers()]
