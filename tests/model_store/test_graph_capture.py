"""Graphs that fail leave nothing behind; what a GPU makes of those that do not is tested where they are used."""

import pytest
import torch

from model_store.graph_capture import GraphCapture
from tests.simulated_graphs import SimulatedCuda

DEVICE = torch.device("cuda", 0)


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> SimulatedCuda:
    return SimulatedCuda(monkeypatch)


def test_warm_up_runs_between_what_was_launched_and_what_comes(cuda: SimulatedCuda) -> None:
    capture, current = GraphCapture(DEVICE), cuda.current
    beside = capture.warm_up(lambda: cuda.current)
    assert beside is not current
    assert (beside.waited_for, current.waited_for) == ([current], [beside])
    assert cuda.current is current


def test_a_capture_takes_the_stream_of_the_warm_up(cuda: SimulatedCuda) -> None:
    capture, current = GraphCapture(DEVICE), cuda.current
    with capture.capture():
        assert cuda.capturing
        assert cuda.current is capture.warm_up(lambda: cuda.current)
    assert cuda.current is current
    assert not cuda.allocating


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_what_fails_beside_a_capture_is_raised_itself(cuda: SimulatedCuda, error: type[BaseException]) -> None:
    with pytest.raises(error), GraphCapture(DEVICE).capture():
        raise error
    assert not cuda.allocating


def test_after_a_capture_that_has_failed_others_succeed(cuda: SimulatedCuda) -> None:
    capture, current = GraphCapture(DEVICE), cuda.current
    with pytest.raises(torch.AcceleratorError, match="previous error during capture"), capture.capture():
        cuda.wait()
    assert cuda.current is current
    assert not cuda.allocating
    with capture.capture() as graph:
        pass
    graph.replay()


def capture_after_a_failure() -> None:
    """What a GPU allows then. Called in a process of its own by the test of what is launched instead of captured."""
    capture, values = GraphCapture(DEVICE), torch.ones(2**20, device=DEVICE)
    capture.warm_up((values * 2).sum)
    with pytest.raises(RuntimeError, match="captur"), capture.capture():
        (values * 2).sum().item()
    assert torch.cuda.current_stream() == torch.cuda.default_stream()
    with capture.capture() as graph:
        doubled = values * 2
    graph.replay()
    assert doubled.sum().item() == 2**21
    shared = torch.ones(2**24, device=DEVICE)
    shared.record_stream(torch.cuda.Stream())
    held = torch.cuda.memory_reserved()
    del shared
    torch.cuda.synchronize()
    torch.cuda.empty_cache()
    assert torch.cuda.memory_reserved() <= held - 4 * 2**24
