import pytest
import torch

from model_store import has_fast_bf16
from service.engine.device import choose_devices, choose_precision, configure_torch

CPU = torch.device("cpu")


def test_choice_of_the_device() -> None:
    assert choose_devices(["cpu"]) == [CPU]
    assert choose_devices(["auto"])[0].type == ("cuda" if torch.cuda.is_available() else "cpu")
    with pytest.raises(ValueError, match="cuda:99 does not exist"):
        choose_devices(["cuda:99"])


def test_choice_of_the_precision() -> None:
    assert choose_precision("fp32", CPU) == torch.float32
    assert choose_precision("bf16", CPU) == torch.bfloat16
    assert choose_precision("auto", torch.device("cuda")) == torch.float16
    assert choose_precision("auto", CPU) == (torch.bfloat16 if has_fast_bf16(CPU) else torch.float32)


def test_convolutions_are_exact_and_repeatable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)  # torch's defaults
    monkeypatch.setattr(torch.backends.cudnn, "deterministic", False)
    configure_torch()
    assert not torch.backends.cudnn.allow_tf32
    assert torch.backends.cudnn.deterministic
