"""Graphs that are stood in for by what they record: their policy needs no GPU."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from torch import Tensor

from model_store import Network, TransformNetwork
from service.engine.cuda_graphs import CapturedGraph, GraphKey, LruCache, StatisticsGraphs
from tests.networks import network


def test_least_recently_used_thing_makes_room_for_a_new_one() -> None:
    kept: LruCache[str, object] = LruCache(2)
    parted: list[list[str]] = []

    def get(name: str) -> object:
        return kept.get(name, object, lambda: parted.append(list(kept)))

    first, second = get("first"), get("second")
    assert get("first") is first
    third = get("third")
    assert (list(kept), parted) == (["first", "third"], [["second", "first"]])
    assert (get("first"), get("third")) == (first, third)
    assert get("second") is not second
    assert len(kept) == 2
    kept.clear()
    assert get("third") is not third


def test_what_cannot_be_made_is_not_kept() -> None:
    kept: LruCache[str, int] = LruCache(2)
    with pytest.raises(ZeroDivisionError):
        kept.get("broken", lambda: 1 // 0, list)
    assert kept.get("broken", lambda: 7, list) == 7


def test_batches_of_other_sizes_are_told_from_other_graphs() -> None:
    key = GraphKey("spec", torch.float16, torch.Size((4, 20, 30, 3)), torch.uint8)
    assert key._replace(shape=torch.Size((2, 20, 30, 3))).differs_in_batch(key)
    others = [
        key,
        key._replace(spec="other"),
        key._replace(precision=torch.float32, shape=torch.Size((2, 20, 30, 3))),
        key._replace(shape=torch.Size((4, 20, 40, 3))),
        key._replace(sample=torch.uint16),
    ]
    assert not any(other.differs_in_batch(key) for other in others)


@dataclass
class Recording:
    """Runs again on the same memory what it is told to have recorded."""

    record: Callable[[], None]

    def replay(self) -> None:
        self.record()


def captured(subject: TransformNetwork, *memory: Tensor | None) -> CapturedGraph:
    """A graph whose output is a weight plus the sums of the inputs' planes."""
    own = network(seed=100)
    own.load_state_dict(subject.state_dict())
    output = torch.zeros(3)

    def compute() -> None:
        first = next(own.parameters()).flatten()[0]
        output.copy_(first + sum(given.sum(1) for given in memory if given is not None))

    graph: Any = Recording(compute)
    return CapturedGraph(own, memory, subject, (output,), graph)


@torch.inference_mode()
def test_graph_runs_with_the_weights_and_the_inputs_that_are_given() -> None:
    one, other = network(seed=1), network(seed=2)
    graph = captured(one, torch.zeros(3, 2), None)
    planes = torch.arange(6.0).view(3, 2)
    results = []
    for subject in (one, other, one):
        (result,) = graph.replay(subject, [planes, None])
        results.append(result)
        assert torch.equal(result, next(subject.parameters()).flatten()[0] + planes.sum(1))
    assert torch.equal(results[0], results[2])
    assert not torch.equal(results[0], results[1])  # a later run does not write to it


@torch.inference_mode()
def test_inputs_of_the_last_planes_may_lack() -> None:
    subject = network()
    graph = captured(subject, torch.full((3, 2), 5.0))
    (result,) = graph.replay(subject, [torch.ones(2, 2)])
    assert torch.equal(result - next(subject.parameters()).flatten()[0], torch.tensor([2.0, 2.0, 10.0]))


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
def test_shape_that_comes_again_gets_a_graph_which_all_styles_share() -> None:
    capturer = Capturer()
    graphs = StatisticsGraphs(capturer.capture, list)
    for position, style in enumerate(styles(3)):
        assert torch.equal(graphs.measure(style, small(20)), style.statistics(small(20)))
        assert len(graphs.shapes) == (position > 0)
    assert [graph.replays for graph in capturer.graphs] == [2]


@torch.inference_mode()
def test_shapes_that_come_once_get_none() -> None:
    capturer = Capturer()
    graphs = StatisticsGraphs(capturer.capture, list)
    (style,) = styles(1)
    for height in range(10, 30):
        graphs.measure(style, small(height))
    assert not capturer.graphs
    graphs.measure(style, small(15))
    assert len(capturer.graphs) == 1


@torch.inference_mode()
def test_precisions_and_architectures_have_graphs_of_their_own() -> None:
    capturer = Capturer()
    graphs = StatisticsGraphs(capturer.capture, list)
    style, other = styles(2)
    for subject in (style, other.to(torch.bfloat16), network("c3s1-8,R8,c3s1-3", norm="thumbnail", thumbnail=32)):
        for _ in range(3):
            graphs.measure(subject, small(20))
    assert [graph.replays for graph in capturer.graphs] == [2, 2, 2]


@torch.inference_mode()
def test_graphs_and_what_is_remembered_are_bounded() -> None:
    capturer, evictions = Capturer(), []
    graphs = StatisticsGraphs(capturer.capture, lambda: evictions.append(1), capacity=2, remembered=3)
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
    graphs = StatisticsGraphs(capturer.capture, list)
    (style,) = styles(1)
    graphs.measure(style, small(20))
    capturer.error = torch.OutOfMemoryError("CUDA out of memory")
    with pytest.raises(torch.OutOfMemoryError):
        graphs.measure(style, small(20))
    capturer.error = None
    assert torch.equal(graphs.measure(style, small(20)), style.statistics(small(20)))
    graphs.clear()
    assert not graphs.shapes
