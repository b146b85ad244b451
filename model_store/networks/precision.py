"""The precisions of networks, and hardware support for bf16."""

from collections.abc import Callable, Mapping

import torch

PRECISIONS: Mapping[str, torch.dtype] = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
"""By their names."""


def has_fast_bf16(device: torch.device) -> bool:
    """Whether bf16 products run in hardware: AVX-512 BF16, AMX or ARM BF16 on a CPU, Ampere or newer on a GPU."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    query: Callable[[], Mapping[str, object]] = getattr(torch.cpu, "get_capabilities", _capabilities_of_older_torch)
    capabilities = query()
    return any(capabilities.get(feature) for feature in ("avx512_bf16", "amx_bf16", "bf16"))  # "bf16" is ARM's


def _capabilities_of_older_torch() -> dict[str, object]:
    query: Callable[[], bool] = getattr(torch.cpu, "_is_avx512_bf16_supported", bool)
    return {"avx512_bf16": query()}
