"""Which devices and precision the networks run in, and torch's process-wide settings for them."""

from collections.abc import Mapping, Sequence

import torch

from model_store import PRECISIONS, has_fast_bf16


def choose_devices(names: Sequence[str], gpus: Sequence[str] | None = None) -> list[torch.device]:
    """The devices of the setting: `auto` is the first GPU, if there is one, and `cuda:all` are all of them.

    `gpus`: what is known of each GPU, by default of those that torch sees. Raises ValueError where one does not exist,
    and where they are not equal.
    """
    gpus = visible_gpus() if gpus is None else gpus
    if names == ["cpu"] or (names == ["auto"] and not gpus):
        return [torch.device("cpu")]
    indices = _indices(names, len(gpus))
    for index in indices:
        if index >= len(gpus):
            raise ValueError(f"device cuda:{index} does not exist here: {len(gpus)} CUDA devices are visible")
    _check_equal({f"cuda:{index}": gpus[index] for index in indices})
    return [torch.device("cuda", index) for index in indices]


def visible_gpus() -> list[str]:
    """The model and the compute capability of each GPU."""
    if not torch.cuda.is_available():
        return []
    found = [torch.cuda.get_device_properties(index) for index in range(torch.cuda.device_count())]
    return [f"{gpu.name}, compute capability {gpu.major}.{gpu.minor}" for gpu in found]


def _indices(names: Sequence[str], count: int) -> list[int]:
    """Of the GPUs that are named, where there are `count`; at least one."""
    if names == ["cuda:all"]:
        return list(range(max(1, count)))
    return [int(name.partition(":")[2] or 0) for name in names]


def _check_equal(gpus: Mapping[str, str]) -> None:
    if len(set(gpus.values())) > 1:
        described = "; ".join(f"{name} is {what}" for name, what in gpus.items())
        raise ValueError(
            f"{described}: those of one service must be of one model, or the last bits of an answer would depend on "
            "which of them computed it; start a service for each model"
        )


def choose_precisions(name: str, device: torch.device) -> tuple[torch.dtype, ...]:
    """The precisions of the setting, the usual one first; `auto` are those in which the device computes natively.

    On a GPU these are two where it knows bf16, and neither is the faster one for all networks.
    """
    if name != "auto":
        return (PRECISIONS[name],)
    if device.type == "cuda":
        return (torch.float16, torch.bfloat16) if has_fast_bf16(device) else (torch.float16,)
    return (torch.bfloat16,) if has_fast_bf16(device) else (torch.float32,)


def configure_torch() -> None:
    """Turn TF32 off and make cuDNN deterministic, for this process. To be called once, before networks are loaded.

    TF32 rounds to ten bits, which misses the tolerance that fp32 is held to; cuDNN's nondeterministic algorithms would
    change the last bits of equal requests.
    """
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.deterministic = True
