import pytest
import torch
from torch import nn

from model_store import has_fast_bf16
from trainer.errors import TrainerError
from trainer.hardware import Hardware


def test_precisions_are_those_asked_for_and_auto_is_the_fast_one() -> None:
    assert Hardware.of("cpu", "fp32") == Hardware(torch.device("cpu"), torch.float32)
    assert Hardware.of("cpu", "bf16") == Hardware(torch.device("cpu"), torch.bfloat16)
    fast = torch.bfloat16 if has_fast_bf16(torch.device("cpu")) else torch.float32
    assert Hardware.of("cpu", "auto").precision == fast


def test_auto_is_a_gpu_where_torch_finds_one() -> None:
    assert Hardware.of("auto", "fp32").device.type == ("cuda" if torch.cuda.is_available() else "cpu")


def test_a_gpu_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(TrainerError, match="--device cuda:1: torch finds no GPU here"):
        Hardware.of("cuda:1", "fp32")


def test_threads_are_left_alone_unless_asked_for_or_more_than_the_quota(monkeypatch: pytest.MonkeyPatch) -> None:
    before = torch.get_num_threads()
    monkeypatch.setattr("trainer.hardware.available_cpus", lambda: before)
    try:
        Hardware.of("cpu", "fp32", 0)
        assert torch.get_num_threads() == before
        Hardware.of("cpu", "fp32", before + 1)
        assert torch.get_num_threads() == before + 1
        Hardware.of("cpu", "fp32", 0)
        assert torch.get_num_threads() == before
    finally:
        torch.set_num_threads(before)


def test_images_are_floats_of_unit_range_in_channels_last() -> None:
    batch = torch.tensor([0, 51, 255], dtype=torch.uint8).view(1, 3, 1, 1).expand(2, 3, 4, 5)
    images = Hardware.of("cpu", "fp32").images(batch)
    assert images.dtype == torch.float32
    assert images[0, :, 0, 0].tolist() == pytest.approx([0, 0.2, 1])
    assert images.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize(("precision", "dtype"), [("fp32", torch.float32), ("bf16", torch.bfloat16)])
def test_networks_compute_in_the_precision(precision: str, dtype: torch.dtype) -> None:
    hardware = Hardware.of("cpu", precision)  # type: ignore[arg-type]
    network = nn.Conv2d(3, 8, 3)
    hardware.place(network)
    assert network.weight.is_contiguous(memory_format=torch.channels_last)
    with hardware.autocast():
        assert network(torch.rand(1, 3, 8, 8)).dtype == dtype
