import pytest
import torch

from model_store import has_fast_bf16

CPU = torch.device("cpu")


@pytest.mark.parametrize("feature", ["avx512_bf16", "amx_bf16", "bf16"])
def test_a_cpu_has_fast_bf16_if_it_has_products_of_it(monkeypatch: pytest.MonkeyPatch, feature: str) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx2": True, feature: True})
    assert has_fast_bf16(CPU)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx2": True, feature: False})
    assert not has_fast_bf16(CPU)


@pytest.mark.parametrize("supported", [True, False])
def test_older_torch_is_asked_in_its_own_way(monkeypatch: pytest.MonkeyPatch, supported: bool) -> None:
    monkeypatch.delattr(torch.cpu, "get_capabilities")
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: supported, raising=False)
    assert has_fast_bf16(CPU) == supported


def test_torch_without_a_query_has_no_fast_bf16(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(torch.cpu, "get_capabilities")
    monkeypatch.delattr(torch.cpu, "_is_avx512_bf16_supported", raising=False)
    assert not has_fast_bf16(CPU)
