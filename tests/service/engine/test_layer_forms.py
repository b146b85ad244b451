from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from model_store import LayerForm
from model_store.networks.layers import ThumbnailNorm
from model_store.networks.thin_layers import BlockedConv
from service.engine.cpu import CpuBackend
from service.engine.layer_forms import choose_forms, seconds_on_gpu
from service.engine.model_loader import ModelLoader
from tests.networks import network
from tests.service.engine.runners import WHOLE, made, stored
from tests.service.live import publish


class Timer:
    """Says that a layer takes a second, or less in blocks."""

    def __init__(self, blocked: float) -> None:
        self.blocked = blocked
        self.channels: list[int] = []

    def __call__(self, layer: nn.Module, features: Tensor) -> float:
        self.channels.append(features.shape[1])
        return self.blocked if isinstance(layer, BlockedConv) and layer.block == 4 else 1.0


@pytest.mark.parametrize(
    ("seconds", "chosen"), [(0.5, {0: LayerForm.BLOCKED_4, 7: LayerForm.BLOCKED_4}), (0.95, {}), (1.5, {})]
)
def test_another_form_is_chosen_only_where_it_is_clearly_faster(seconds: float, chosen: dict[int, LayerForm]) -> None:
    subject = network("c9s1-4,d6,d8,R8*2,u6,u4,c9s1-3")
    timer = Timer(seconds)
    assert choose_forms(subject, torch.float32, timer) == chosen
    assert set(timer.channels) == {3, 4}


def test_no_statistics_are_measured_while_layers_are_timed() -> None:
    timed: list[nn.Module] = []

    def seconds(layer: nn.Module, features: Tensor) -> float:
        layer(features[..., :16, :16].float())
        timed.extend(layer.modules())
        return 1.0

    subject = network(norm="thumbnail")
    assert choose_forms(subject, torch.float32, seconds) == {}
    assert sum(isinstance(module, nn.Conv2d) for module in timed) == 2 * len(LayerForm) - 1
    assert not any(isinstance(module, ThumbnailNorm) for module in timed)
    assert any(isinstance(module, ThumbnailNorm) for module in subject.modules())


def test_networks_of_one_architecture_are_measured_once_and_keep_their_golden_output(tmp_path: Path) -> None:
    runner, timer = made(), Timer(0.5)
    loader = ModelLoader(runner, [torch.float32], WHOLE, layer_seconds=timer)
    variants = set()
    for seed in range(2):
        publish(tmp_path, built=network(seed=seed))
        variants.add(loader.load(stored(tmp_path)).default.variants)
    assert len(timer.channels) == 2 * len(LayerForm)
    assert all("blocked-4" in variant for pair in variants for variant in pair)
    assert len(variants) == 1
    runner.close()


class Locked(CpuBackend):
    """Knows whether batches may be launched, and how often they were held up."""

    def __init__(self) -> None:
        super().__init__(threads=1, lanes=1)
        self.launches, self.held_up = True, 0

    @contextmanager
    def launch_lock(self) -> Iterator[None]:
        self.launches, self.held_up = False, self.held_up + 1
        yield
        self.launches = True


def test_batches_are_launched_between_two_measurements(tmp_path: Path) -> None:
    backend = Locked()

    def seconds(_layer: nn.Module, _features: Tensor) -> float:
        assert not backend.launches
        return 1.0

    publish(tmp_path, built=network())
    runner = made(backend=backend)
    loader = ModelLoader(runner, [torch.float32], WHOLE, layer_seconds=seconds)
    loader.load(stored(tmp_path))
    assert backend.held_up > 2 * len(LayerForm)
    runner.close()


def test_without_memory_to_compare_them_forms_are_the_usual_ones(tmp_path: Path) -> None:
    def out_of_memory(_layer: nn.Module, _features: Tensor) -> float:
        raise MemoryError

    publish(tmp_path)
    runner = made()
    loader = ModelLoader(runner, [torch.float32], WHOLE, layer_seconds=out_of_memory)
    assert loader.load(stored(tmp_path)).default.variants == ("", "")
    runner.close()


class SimulatedStream:
    """A device that computes, one after the other, what the host has launched."""

    LAUNCH, KERNEL = 0.05, 0.01
    """Milliseconds."""

    def __init__(self) -> None:
        self.host = self.device = 0.0

    def run(self, milliseconds: float) -> None:
        self.host += self.LAUNCH
        self.device = max(self.device, self.host) + milliseconds

    def sleep(self, cycles: int) -> None:
        self.run(cycles / 2e6)

    def event(self, enable_timing: bool) -> "SimulatedEvent":
        assert enable_timing
        return SimulatedEvent(self)


class SimulatedEvent:
    """When the device is there."""

    def __init__(self, stream: SimulatedStream) -> None:
        self._stream, self.at = stream, 0.0

    def record(self) -> None:
        self.at = max(self._stream.host, self._stream.device)

    def synchronize(self) -> None:
        self._stream.host = max(self._stream.host, self.at)

    def elapsed_time(self, later: "SimulatedEvent") -> float:
        return later.at - self.at


class Kernels(nn.Module):
    """So many launches."""

    def __init__(self, stream: SimulatedStream, count: int) -> None:
        super().__init__()
        self._stream, self._count = stream, count

    def forward(self, x: Tensor) -> Tensor:
        for _ in range(self._count):
            self._stream.run(self._stream.KERNEL)
        return x


def test_a_layer_takes_the_time_of_the_device_and_not_of_the_launches(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = SimulatedStream()
    monkeypatch.setattr(torch.cuda, "Event", stream.event)
    monkeypatch.setattr(torch.cuda, "_sleep", stream.sleep)
    for count in (2, 8):
        seconds = seconds_on_gpu(torch.device("cpu"))(Kernels(stream, count), torch.zeros(1))
        assert seconds == pytest.approx(count * stream.KERNEL / 1000)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_layers_are_timed_on_a_gpu() -> None:
    layer = nn.Conv2d(3, 8, 9).half()
    assert 0 < seconds_on_gpu(torch.device("cuda"))(layer, torch.rand(1, 3, 64, 64).half()) < 1
