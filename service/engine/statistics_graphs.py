"""Which thumbnails have their statistics measured by CUDA graphs."""

from collections.abc import Callable, Iterator, Sequence
from itertools import count
from typing import Protocol

import torch
from torch import Tensor

from model_store import Network, TransformNetwork
from service.engine.cuda_graphs import GraphKey, LruCache

COMINGS = 16
"""How often a shape has come when it is captured. A capture takes about as long as so many measurements by launches,
and all that runs waits for it: whatever shapes come, captures then take no longer than these."""


class Replayable(Protocol):
    """See `CapturedGraph`."""

    def replay(self, network: Network, inputs: Sequence[Tensor | None]) -> tuple[Tensor, ...]:
        """See `CapturedGraph.replay`."""


class StatisticsGraphs:
    """Thumbnail statistics by graphs, for shapes of thumbnails that come often.

    A graph saves most of the time, which goes into launches, but to capture one takes as long as many. Photographs come
    in few proportions, pictures that were cut come in hundreds.
    """

    def __init__(
        self,
        capture: Callable[[TransformNetwork, Tensor], Replayable],
        before_eviction: Callable[[], object],
        *,
        capacity: int = 64,
        remembered: int = 1024,
        comings: int = COMINGS,
    ) -> None:
        """`remembered`: shapes that have no graph yet, at most; they get one when they come for so many `comings`."""
        self._capture = capture
        self._before_eviction = before_eviction
        self._graphs: LruCache[GraphKey, Replayable] = LruCache(capacity)
        self._comings = comings
        self._seen: LruCache[GraphKey, Iterator[int]] = LruCache(remembered)

    @property
    def shapes(self) -> list[torch.Size]:
        """Of the thumbnails that have graphs, the least recently used one first."""
        return [key.shape for key in self._graphs]

    def measure(self, network: TransformNetwork, thumbnail: Tensor) -> Tensor:
        """The statistics (1, 2, K) of a thumbnail (1, 3, h, w) on the device."""
        key = GraphKey.of(network, thumbnail.shape, thumbnail.dtype)
        if key not in self._graphs and not self._comes_often(key):
            return network.statistics(thumbnail)
        graph = self._graphs.get(key, lambda: self._capture(network, thumbnail), self._before_eviction)
        (statistics,) = graph.replay(network, [thumbnail])
        return statistics

    def _comes_often(self, key: GraphKey) -> bool:
        """Whether it is time for a graph; then, should that be evicted, the shape is counted anew."""
        comings = next(self._seen.get(key, lambda: count(1), lambda: None))
        if comings >= self._comings:
            self._seen.discard(key)
        return comings >= self._comings

    def forget(self, network: Network) -> None:
        """Drop the graphs of networks of this one's architecture, precision and forms of layers."""
        keys = [key for key in self._graphs if key.is_of(network)]
        if keys:
            self._before_eviction()
        for key in keys:
            self._graphs.discard(key)

    def clear(self) -> None:
        """Drop all graphs."""
        self._graphs.clear()
