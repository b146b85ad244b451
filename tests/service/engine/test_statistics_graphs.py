"""Graphs that are stood in for by the network itself: which are captured needs no GPU."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest
import torch
from torch import Tensor

from model_store import Network, TransformNetwork
from service.engine.statistics_graphs import COMINGS, StatisticsGraphs
from tests.networks import network


@dataclass
class FakeGraph:
    """Computes at once what a graph would."""

    replays: int = 0

    def replay(self, network: Network, inputs: Sequence[Tensor | None]) -> tuple[Tensor, ...]:
        self.replays += 1
        (thumbnail,) = inputs
        assert isinstance(network, TransformNetwork)
        assert thumbnail is not None
        return (network.statistics(thumbnail),)


@dataclass
class Capturer:
    """Captures fake graphs, until memory runs out."""

    graphs: list[FakeGraph] = field(default_factory=list)
    error: Exception | None = None

    def capture(self, subject: TransformNetwork, thumbnail: Tensor) -> FakeGraph:
        del subject, thumbnail
        if self.error is not None:
            raise self.error
        self.graphs.append(FakeGraph())
        return self.graphs[-1]


def styles(count: int) -> list[TransformNetwork]:
    return [network(norm="thumbnail", thumbnail=32, seed=seed) for seed in range(count)]


def small(height: int, width: int = 32) -> Tensor:
    return torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(height))


@torch.inference_mode()
def test_shape_that_comes_often_gets_a_graph_which_all_styles_share() -> None:
    capturer = Capturer()
    graphs = StatisticsGraphs(capturer.capture, list, comings=2)
    for position, style in enumerate(styles(3)):
        assert torch.equal(graphs.measure(style, small(20)), style.statistics(small(20)))
        assert len(graphs.shapes) == (position > 0)
    assert [graph.replays for graph in capturer.graphs] == [2]


@torch.inference_mode()
def test_shapes_that_come_seldom_get_none() -> None:
    capturer = Capturer()
    graphs = StatisticsGraphs(capturer.capture, list, comings=2)
    (style,) = styles(1)
    for height in range(10, 30):
        graphs.measure(style, small(height))
    assert not capturer.graphs
    graphs.measure(style, small(15))
    assert len(capturer.graphs) == 1


@torch.inference_mode()
def test_more_shapes_than_graphs_are_seldom_captured() -> None:
    capturer = Capturer()
    graphs = StatisticsGraphs(capturer.capture, list, capacity=3)
    (style,) = styles(1)
    for _ in range(2 * COMINGS):
        for height in range(10, 15):
            graphs.measure(style, small(height))
    assert 5 <= len(capturer.graphs) <= 2 * 5  # of 160 measurements


@torch.inference_mode()
def test_precisions_and_architectures_have_graphs_of_their_own() -> None:
    capturer = Capturer()
    graphs = StatisticsGraphs(capturer.capture, list, comings=2)
    style, other = styles(2)
    for subject in (style, other.to(torch.bfloat16), network("c3s1-8,R8,c3s1-3", norm="thumbnail", thumbnail=32)):
        for _ in range(3):
            graphs.measure(subject, small(20))
    assert [graph.replays for graph in capturer.graphs] == [2, 2, 2]


@torch.inference_mode()
def test_graphs_and_what_is_remembered_are_bounded() -> None:
    capturer, evictions = Capturer(), []
    graphs = StatisticsGraphs(capturer.capture, lambda: evictions.append(1), capacity=2, remembered=3, comings=2)
    (style,) = styles(1)
    for height in (10, 11, 12, 10, 11, 12):
        graphs.measure(style, small(height))
    assert (len(graphs.shapes), len(capturer.graphs), len(evictions)) == (2, 3, 1)
    for height in (20, 21, 22, 23, 20):  # 20 is forgotten by the time it comes again
        graphs.measure(style, small(height))
    assert len(capturer.graphs) == 3


@torch.inference_mode()
def test_graph_that_cannot_be_captured_is_tried_again() -> None:
    capturer = Capturer()
    graphs = StatisticsGraphs(capturer.capture, list, comings=2)
    (style,) = styles(1)
    graphs.measure(style, small(20))
    capturer.error = torch.OutOfMemoryError("CUDA out of memory")
    with pytest.raises(torch.OutOfMemoryError):
        graphs.measure(style, small(20))
    capturer.error = None
    assert torch.equal(graphs.measure(style, small(20)), style.statistics(small(20)))
    graphs.clear()
    assert not graphs.shapes


@torch.inference_mode()
def test_graphs_of_one_precision_are_forgotten() -> None:
    capturer, waited = Capturer(), list[None]()
    graphs = StatisticsGraphs(capturer.capture, lambda: waited.append(None), comings=2)
    (style,) = styles(1)
    (other,) = styles(1)
    reduced = other.to(torch.bfloat16)
    for _ in range(2):
        graphs.measure(style, small(20))
        graphs.measure(reduced, small(24))
    assert len(graphs.shapes) == 2
    graphs.forget(reduced)
    assert [shape[2] for shape in graphs.shapes] == [20]
    assert len(waited) == 1
    graphs.forget(reduced)
    assert len(waited) == 1
