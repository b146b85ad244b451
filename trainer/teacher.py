"""A large enlarging network of somebody else as a teacher: loaded through spandrel, which knows its architecture."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from trainer.errors import TrainerError
from trainer.hardware import Hardware
from trainer.pictures import file_digest


@dataclass(frozen=True)
class Teacher:
    """An enlarging network in evaluation mode, on the device of a run, and where it came from."""

    network: nn.Module
    scale: int
    architecture: str
    digest: str
    """sha256:… of its file."""

    @torch.inference_mode()
    def answer(self, low: Tensor) -> Tensor:
        """What it makes of images, float RGB (N, 3, H, W) in [0, 1]: (N, 3, scale · H, scale · W) in [0, 1]."""
        enlarged: Tensor = self.network(low)
        return enlarged.float().clamp(0, 1)


def load_teacher_file(path: Path, scale: int, hardware: Hardware) -> Teacher:
    """The network of a safetensors file; half-precision weights are computed in fp32.

    Raises TrainerError where spandrel is missing or does not know the network, and for one that does not enlarge RGB
    by `scale`.
    """
    if path.suffix != ".safetensors":
        raise TrainerError(f"--teacher {path}: a safetensors file is wanted; other formats can contain code")
    digest = file_digest(path)
    try:
        weights = {name: tensor.float() for name, tensor in load_file(path).items()}
    except (SafetensorError, OSError) as error:
        raise TrainerError(f"--teacher {path} cannot be read: {error}; a safetensors file is wanted") from error
    found = _descriptor(path, weights)
    if (found.scale, found.input_channels, found.output_channels) != (scale, 3, 3):
        made = f"turns {found.input_channels} channels into {found.output_channels}, ×{found.scale}"
        raise TrainerError(f"--teacher {path} {made}; a network that enlarges RGB ×{scale} is wanted")
    network = found.model.eval().requires_grad_(False)
    hardware.place(network)
    return Teacher(network, scale, str(found.architecture.id), digest)


def _descriptor(path: Path, weights: dict[str, Tensor]) -> Any:
    """Spandrel's description of the network, which also holds it."""
    try:
        from spandrel import ModelLoader, UnsupportedModelError  # noqa: PLC0415 - an optional extra
    except ImportError as error:
        raise TrainerError("--teacher needs spandrel: pip install 'pastiche[teachers]'") from error
    try:
        return ModelLoader(device="cpu").load_from_state_dict(weights)
    except (UnsupportedModelError, RuntimeError, KeyError) as error:
        raise TrainerError(f"--teacher {path} is no network that spandrel knows: {error}") from error
