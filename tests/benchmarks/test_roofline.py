"""What each layer is, and that the table has it all."""

from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import limits, networks, roofline
from benchmarks.errors import BenchmarkError
from benchmarks.limits import Sizes
from benchmarks.roofline import Roofline, Work, layer_work
from model_store import NetworkSpec, TransformNetwork, for_inference

STYLE = "c9s1-4,d6,d8,R8*2,u6,u4,c9s1-3"


def plane(fast: TransformNetwork, side: int) -> torch.Tensor:
    return torch.rand(1, 3, side, side)


def test_layers_are_all_the_work_of_a_pass() -> None:
    fast = for_inference(networks.calibrated(STYLE))
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        fast.transform(plane(fast, 150))
    works = layer_work(fast, plane(fast, 150))
    assert len(works) == len(fast.layers) == 8
    assert sum(work.flops for work in works) == counter.get_total_flops()


def test_every_plane_and_every_weight_moves_once() -> None:
    network = TransformNetwork(NetworkSpec(architecture="c3s1-8,R8,c3s1-3", norm="none")).eval()
    first, block, last = layer_work(network, plane(network, 20))
    weights = 3 * 8 * 9 + 8
    assert first.bytes == 4 * (3 * 20**2 + weights + 8 * 18**2)
    assert first.flops == 2 * 3 * 8 * 9 * 18**2
    inside = 8 * (18**2 + 16**2 + 16**2 + 14**2) + 2 * (8 * 8 * 9 + 8)
    assert block.bytes == 4 * (inside + 8 * 18**2 + 8 * 14**2)  # what is added is read again, and the sum written
    assert last.bytes == 4 * (8 * 14**2 + 8 * 3 * 9 + 3 + 3 * 12**2)


def test_half_precision_moves_half_as_much() -> None:
    network = networks.calibrated(STYLE)
    works = [
        layer_work(for_inference(network, precision), plane(network, 100))
        for precision in (torch.float32, torch.bfloat16)
    ]
    assert [work.bytes for work in works[1]] == [work.bytes // 2 for work in works[0]]


@pytest.mark.parametrize(("work", "seconds"), [(Work(100, 1), 10.0), (Work(1, 100), 50.0)])
def test_the_tighter_limit_counts(work: Work, seconds: float) -> None:
    assert Roofline(10, 2).seconds(work) == seconds


def test_table_has_every_layer_the_rest_and_all() -> None:
    sizes = Sizes(matrices=(64,), planes=(8,), copied=2**16)
    chosen = Namespace(networks=["style"], batch=1, device="cpu", precision="fp32", quick=True, side=64, rounds=1)
    found, rows = roofline.run(chosen, {"style": lambda: networks.calibrated(STYLE)}, sizes).values()
    assert float(found[0]["GB/s"] or 0) > 0
    assert [row["layer"] for row in rows] == ["c9s1-4", "d6", "d8", "R8", "R8", "u6", "u4", "c9s1-3", "the rest", "all"]
    assert sum(float(row["share"] or 0) for row in rows[:-1]) == pytest.approx(1.0)
    assert float(rows[-1]["GFLOP"] or 0) == pytest.approx(sum(float(row["GFLOP"] or 0) for row in rows[:-2]))


def test_a_second_gpu_is_measured_by_its_own_events_and_as_the_service_computes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    current: list[torch.device] = []

    @contextmanager
    def select(device: torch.device) -> Iterator[None]:
        current.append(device)
        yield
        current.remove(device)

    def peak(precision: torch.dtype, repetitions: int, on: torch.device, sizes: Sizes) -> None:
        raise BenchmarkError(f"{current} {on} {torch.backends.cudnn.allow_tf32}")

    monkeypatch.setattr(roofline, "choose_devices", lambda names: [torch.device(*names)])
    monkeypatch.setattr(torch.cuda, "device", select)
    monkeypatch.setattr(limits, "peak", peak)
    for flag in ("allow_tf32", "deterministic"):
        monkeypatch.setattr(torch.backends.cudnn, flag, getattr(torch.backends.cudnn, flag))  # undone afterwards
    torch.backends.cudnn.allow_tf32 = True
    chosen = Namespace(networks=["style"], batch=1, device="cuda:1", precision="fp32", quick=True, side=64, rounds=1)
    with pytest.raises(BenchmarkError, match=r"\[device\(type='cuda', index=1\)\] cuda:1 False"):
        roofline.run(chosen)


def test_options_have_the_sizes_of_a_gpu_tile() -> None:
    parser = ArgumentParser()
    roofline.add_options(parser)
    chosen = parser.parse_args([])
    assert (chosen.side, chosen.device, chosen.networks) == (1024, "auto", ("style", "x4"))
