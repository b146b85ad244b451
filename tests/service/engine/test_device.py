import pytest
import torch

from model_store import has_fast_bf16
from service.engine.device import choose_devices, choose_precisions, configure_torch

CPU = torch.device("cpu")


def test_choice_of_the_device() -> None:
    assert choose_devices(["cpu"]) == [CPU]
    assert choose_devices(["auto"])[0].type == ("cuda" if torch.cuda.is_available() else "cpu")
    with pytest.raises(ValueError, match="cuda:99 does not exist"):
        choose_devices(["cuda:99"])


def test_choice_of_the_precision() -> None:
    assert choose_precisions("fp32", CPU) == (torch.float32,)
    assert choose_precisions("bf16", CPU) == (torch.bfloat16,)
    assert choose_precisions("auto", CPU) == (torch.bfloat16 if has_fast_bf16(CPU) else torch.float32,)


@pytest.mark.parametrize(
    ("capability", "chosen"), [((7, 5), (torch.float16,)), ((9, 0), (torch.float16, torch.bfloat16))]
)
def test_a_gpu_that_knows_bf16_chooses_by_time(
    monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int], chosen: tuple[torch.dtype, ...]
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: capability)
    assert choose_precisions("auto", torch.device("cuda")) == chosen
    assert choose_precisions("bf16", torch.device("cuda")) == (torch.bfloat16,)


def test_convolutions_are_exact_and_repeatable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)  # torch's defaults
    monkeypatch.setattr(torch.backends.cudnn, "deterministic", False)
    configure_torch()
    assert not torch.backends.cudnn.allow_tf32
    assert torch.backends.cudnn.deterministic


A100, L4 = "NVIDIA A100-SXM4-80GB, compute capability 8.0", "NVIDIA L4, compute capability 8.9"


@pytest.mark.parametrize(
    ("names", "gpus", "chosen"),
    [
        (["auto"], [], ["cpu"]),
        (["auto"], [A100, A100], ["cuda:0"]),
        (["cuda"], [A100, L4], ["cuda:0"]),
        (["cuda:1"], [A100, L4], ["cuda:1"]),
        (["cuda:2", "cuda:0"], [A100, L4, A100], ["cuda:2", "cuda:0"]),
        (["cuda:all"], [L4], ["cuda:0"]),
        (["cuda:all"], [L4] * 3, ["cuda:0", "cuda:1", "cuda:2"]),
    ],
)
def test_choice_of_gpus(names: list[str], gpus: list[str], chosen: list[str]) -> None:
    assert [str(device) for device in choose_devices(names, gpus)] == chosen


@pytest.mark.parametrize(
    ("names", "gpus", "problem"),
    [
        (["cuda"], [], "cuda:0 does not exist here: 0 CUDA devices are visible"),
        (["cuda:all"], [], "cuda:0 does not exist here: 0 CUDA devices are visible"),
        (["cuda:0", "cuda:2"], [L4, L4], "cuda:2 does not exist here: 2 CUDA devices are visible"),
        (["cuda:all"], [A100, L4], "cuda:0 is NVIDIA A100.*; cuda:1 is NVIDIA L4.*must be of one model"),
    ],
)
def test_gpus_that_are_missing_or_unequal_are_refused(names: list[str], gpus: list[str], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        choose_devices(names, gpus)
