"""What wrappers of networks put before the keys of their weights."""

from collections.abc import Mapping

from torch import Tensor

PREFIXES = ("module.", "netG.")
"""Of all keys, where a network was wrapped as it was saved, as by DataParallel."""

COMPILED = "_orig_mod"
"""What torch.compile calls the network, or the part of one, that it compiles."""


def without_prefixes(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors by the keys of the network inside of its wrappers, however many and in whatever order."""
    plain = {_uncompiled(key): tensor for key, tensor in tensors.items()}
    found = plain if len(plain) == len(tensors) else dict(tensors)
    while prefix := _common_prefix(found):
        found = {key.removeprefix(prefix): tensor for key, tensor in found.items()}
    return found


def _uncompiled(key: str) -> str:
    return ".".join(part for part in key.split(".") if part != COMPILED)


def _common_prefix(tensors: Mapping[str, Tensor]) -> str:
    """The one that all keys have, or ""."""
    if not tensors:
        return ""
    return next((prefix for prefix in PREFIXES if all(key.startswith(prefix) for key in tensors)), "")
