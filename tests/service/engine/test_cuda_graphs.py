"""Graphs that are stood in for by what they record: no GPU is needed."""

import copy
import gc
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from weakref import ref

import pytest
import torch
from torch import Tensor

from model_store import Network, TransformNetwork, for_inference
from service.engine.cuda_graphs import CapturedGraph, GraphKey, GraphMemory, LruCache
from tests.networks import network
from tests.simulated_graphs import SimulatedCuda


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
    return CapturedGraph(own, memory, ref(subject), (output,), graph)


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
def test_weights_that_could_not_be_copied_leave_nothing_behind() -> None:
    one, broken = network(seed=1), network(seed=2)
    graph, planes = captured(one, torch.zeros(3, 2)), torch.ones(3, 2)
    (before,) = graph.replay(one, [planes])
    list(broken.parameters())[-1].data = torch.empty(0)
    with pytest.raises(RuntimeError):
        graph.replay(broken, [planes])
    assert torch.equal(graph.replay(one, [planes])[0], before)


@torch.inference_mode()
def test_inputs_of_the_last_planes_may_lack() -> None:
    subject = network()
    graph = captured(subject, torch.full((3, 2), 5.0))
    (result,) = graph.replay(subject, [torch.ones(2, 2)])
    assert torch.equal(result - next(subject.parameters()).flatten()[0], torch.tensor([2.0, 2.0, 10.0]))


@torch.inference_mode()
def test_weights_of_each_precision_are_copied_together(monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = (for_inference(network(seed=seed), torch.bfloat16) for seed in (1, 2))
    own, calls = copy.deepcopy(one), list[list[Tensor]]()
    copy_all = torch._foreach_copy_

    def recorded(into: list[Tensor], given: list[Tensor]) -> None:
        calls.append(into)
        copy_all(into, given)

    monkeypatch.setattr(torch, "_foreach_copy_", recorded)
    graph: Any = Recording(lambda: None)
    CapturedGraph(own, [], ref(one), (), graph).replay(other, [])
    assert [{tensor.dtype for tensor in into} for into in calls] == [{torch.bfloat16}, {torch.float32}]
    assert len([*own.parameters(), *own.buffers()]) == sum(map(len, calls))
    assert all(torch.equal(*pair) for pair in zip(own.parameters(), other.parameters(), strict=True))


@torch.inference_mode()
def test_networks_that_have_run_are_not_kept() -> None:
    one, other = network(seed=1), network(seed=2)
    graph, served = captured(one, torch.zeros(3, 2)), [ref(one), ref(other)]
    graph.replay(other, [torch.ones(3, 2)])
    del one, other
    gc.collect()
    assert [network() for network in served] == [None, None]


def doubled(subject: Network, inputs: Sequence[Tensor | None]) -> tuple[Tensor, ...]:
    """A weight, and the first input twice."""
    (given,) = inputs
    assert given is not None
    return next(subject.parameters()).flatten()[:1].clone(), 2 * given


@torch.inference_mode()
def test_what_cannot_be_captured_is_launched_from_then_on(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    cuda = SimulatedCuda(monkeypatch)
    memory, one, other = GraphMemory(torch.device("cuda", 0)), network(seed=1), network(seed=2)

    def waiting(subject: Network, inputs: Sequence[Tensor | None]) -> tuple[Tensor, ...]:
        cuda.wait()
        return doubled(subject, inputs)

    graphs = [memory.capture(one, [torch.zeros(3, 2)], waiting) for _ in range(2)]
    for graph in graphs:
        for subject in (one, other, one):
            weight, twice = graph.replay(subject, [torch.ones(2, 2)])
            assert weight == next(subject.parameters()).flatten()[0]
            assert twice.tolist() == [[2.0, 2.0], [2.0, 2.0], [0.0, 0.0]]
    assert cuda.captures == 1
    assert not cuda.allocating
    (record,) = caplog.records
    assert record.getMessage().startswith("CUDA graphs are not used, and batches are slower: CUDA error: operation")


@torch.inference_mode()
def test_a_lack_of_memory_in_a_capture_is_raised_and_later_ones_are_captured(monkeypatch: pytest.MonkeyPatch) -> None:
    cuda, subject, enough = SimulatedCuda(monkeypatch), network(), iter([True, True, True, False])
    memory = GraphMemory(torch.device("cuda", 0))

    def compute(subject: Network, inputs: Sequence[Tensor | None]) -> tuple[Tensor, ...]:
        if not next(enough, True):
            raise torch.OutOfMemoryError("CUDA out of memory")
        return doubled(subject, inputs)

    with pytest.raises(torch.OutOfMemoryError):
        memory.capture(subject, [torch.zeros(1)], compute)
    graph: Any = memory.capture(subject, [torch.zeros(1)], compute).graph
    graph.replay()
    assert (cuda.captures, graph.replays) == (2, 1)
