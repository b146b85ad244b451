"""Which thumbnails have their statistics measured by CUDA graphs."""

from collections.abc import Callable, Sequence
from typing import Protocol

import torch
from torch import Tensor

from model_store import Network, TransformNetwork
from service.engine.cuda_graphs import GraphKey, LruCache


class Replayable(Protocol):
    """See `CapturedGraph`."""

    def replay(self, network: Network, inputs: Sequence[Tensor | None]) -> tuple[Tensor, ...]:
        """See `CapturedGraph.replay`."""


class StatisticsGraphs:
    """Thumbnail statistics by graphs, for shapes of thumbnails that come again.

    A graph saves most of the time, which goes into launches, but to capture one takes as long as many. Photographs come
    in few proportions, so that a shape is captured when it comes for the second time.
    """

    def __init__(
        self,
        capture: Callable[[TransformNetwork, Tensor], Replayable],
        before_eviction: Callable[[], object],
        *,
        capacity: int = 64,
        remembered: int = 1024,
    ) -> None:
        """`remembered`: shapes that have come once, at most."""
        self._capture = capture
        self._before_eviction = before_eviction
        self._graphs: LruCache[GraphKey, Replayable] = LruCache(capacity)
        self._seen: LruCache[GraphKey, None] = LruCache(remembered)

    @property
    def shapes(self) -> list[torch.Size]:
        """Of the thumbnails that have graphs, the least recently used one first."""
        return [key.shape for key in self._graphs]

    def measure(self, network: TransformNetwork, thumbnail: Tensor) -> Tensor:
        """The statistics (1, 2, K) of a thumbnail (1, 3, h, w) on the device."""
        key = GraphKey.of(network, thumbnail.shape, thumbnail.dtype)
        if key not in self._graphs and key not in self._seen:
            self._seen.get(key, lambda: None, lambda: None)
            return network.statistics(thumbnail)
        graph = self._graphs.get(key, lambda: self._capture(network, thumbnail), self._before_eviction)
        (statistics,) = graph.replay(network, [thumbnail])
        return statistics

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
