"""Which precision is fast where."""

from collections.abc import Mapping

import torch


def has_fast_bf16(device: torch.device) -> bool:
    """Whether bf16 products run in hardware there: AVX-512 BF16, AMX or ARM's on a CPU, Ampere or newer on a GPU."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    # torch older than its capability query computes in fp32: right, if slower
    capabilities: Mapping[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
    return any(capabilities.get(feature) for feature in ("avx512_bf16", "amx_bf16", "bf16"))  # the last is ARM's
