"""A large enlarging network of somebody else as a teacher: loaded through spandrel, which knows its architecture."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from model_store.error_messages import reason_of
from model_store.importers.prefixes import without_prefixes
from model_store.networks.imported import Enlarger, enlarge_rgb
from trainer.errors import TrainerError
from trainer.hardware import Hardware
from trainer.pictures import file_digest


@dataclass(frozen=True)
class Teacher:
    """An enlarging network in evaluation mode, on the device of a run, and where it came from."""

    network: Enlarger
    """As its package calls it, which continues images to the sizes that it takes."""
    scale: int
    architecture: str
    digest: str
    """sha256:… of its file."""

    @torch.inference_mode()
    def answer(self, low: Tensor) -> Tensor:
        """What it makes of images, float RGB (N, 3, H, W) in [0, 1]: (N, 3, scale · H, scale · W) in [0, 1]."""
        return enlarge_rgb(self.network, low, channels=3).clamp(0, 1)


def load_teacher_file(path: Path, scale: int, hardware: Hardware) -> Teacher:
    """The network of a safetensors file; half-precision weights are computed in fp32.

    Raises TrainerError where spandrel is missing or does not know the network, and for one that does not enlarge RGB
    by `scale`.
    """
    if path.suffix != ".safetensors":
        raise TrainerError(f"--teacher {path}: a safetensors file is wanted; other formats can contain code")
    digest = file_digest(path)
    try:
        weights = {name: _in_fp32(tensor) for name, tensor in without_prefixes(load_file(path)).items()}
    except (SafetensorError, OSError) as error:
        raise TrainerError(
            f"--teacher {path} cannot be read: {reason_of(error)}; a safetensors file is wanted"
        ) from error
    found = _descriptor(path, weights)
    if (found.scale, found.input_channels, found.output_channels) != (scale, 3, 3):
        made = f"turns {found.input_channels} channels into {found.output_channels}, ×{found.scale}"
        raise TrainerError(f"--teacher {path} {made}; a network that enlarges RGB ×{scale} is wanted")
    hardware.place(found.model.eval().requires_grad_(False))
    return Teacher(found, scale, str(found.architecture.id), digest)


def _in_fp32(tensor: Tensor) -> Tensor:
    """Weights in fp32; some networks also keep whole numbers, which stay."""
    return tensor.float() if tensor.is_floating_point() else tensor


def _descriptor(path: Path, weights: dict[str, Tensor]) -> Any:
    """Spandrel's description of the network, which also holds it."""
    try:
        from spandrel import ModelLoader  # noqa: PLC0415 - an optional extra
    except ImportError as error:
        raise TrainerError("--teacher needs spandrel: pip install 'pastiche[teachers]'") from error
    try:
        return ModelLoader(device="cpu").load_from_state_dict(weights)
    except Exception as error:  # whatever a library raises that guesses by keys and shapes
        raise TrainerError(f"--teacher {path} is no network that spandrel knows: {error!r}") from error
