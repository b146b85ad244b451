import pytest
import torch

from model_store.importers.prefixes import without_prefixes


@pytest.mark.parametrize(
    ("keys", "plain"),
    [
        (["module.a.weight", "module.b.weight"], ["a.weight", "b.weight"]),
        (["_orig_mod.a.weight", "_orig_mod.b.weight"], ["a.weight", "b.weight"]),
        (["_orig_mod.module.a", "_orig_mod.module.b"], ["a", "b"]),
        (["netG.module._orig_mod.module.a"], ["a"]),
        (["a._orig_mod.weight", "b.weight"], ["a.weight", "b.weight"]),
        (["module.a", "b"], ["module.a", "b"]),
        (["_orig_mod.a", "a"], ["_orig_mod.a", "a"]),
        ([], []),
    ],
)
def test_wrappers_leave_no_trace_in_keys(keys: list[str], plain: list[str]) -> None:
    assert list(without_prefixes(dict.fromkeys(keys, torch.zeros(1)))) == plain
