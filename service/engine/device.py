"""Which device and precision the networks run in, and torch's process-wide settings for them."""

import torch

from model_store import has_fast_bf16

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
"""By the names of the setting `precision`."""


def choose_device(name: str) -> torch.device:
    """The device of the setting; `auto` is a GPU if there is one. Raises ValueError where it does not exist."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    device = torch.device(name)
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ValueError(f"device {name} does not exist here: {torch.cuda.device_count()} CUDA devices are visible")
    return device


def choose_precision(name: str, device: torch.device) -> torch.dtype:
    """The precision of the setting; `auto` is the fastest in which the device computes natively."""
    if name != "auto":
        return PRECISIONS[name]
    if device.type == "cuda":
        return torch.float16
    return torch.bfloat16 if has_fast_bf16(device) else torch.float32


def configure_torch() -> None:
    """Turn TF32 off and make cuDNN deterministic, for this process. To be called once, before networks are loaded.

    TF32 rounds to ten bits, which misses the tolerance that fp32 is held to; cuDNN's nondeterministic algorithms would
    change the last bits of equal requests.
    """
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.deterministic = True
