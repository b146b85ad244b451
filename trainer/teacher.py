"""A large enlarging network of somebody else as a teacher: loaded through spandrel, which knows its architecture."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor
from torch.nn.functional import avg_pool2d

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
    restorer: "Teacher | None" = None
    """A network whose answers, reduced to the size of the image, it sees instead of the image."""

    @torch.inference_mode()
    def answer(self, low: Tensor) -> Tensor:
        """What it makes of images, float RGB (N, 3, H, W) in [0, 1]: (N, 3, scale · H, scale · W) in [0, 1]."""
        seen = self.restorer.restore(low) if self.restorer else low
        return enlarge_rgb(self.network, seen, channels=3).clamp(0, 1)

    def restore(self, low: Tensor) -> Tensor:
        """Its answer, reduced to the size of the images: each pixel is the mean of a square of pixels."""
        return avg_pool2d(self.answer(low), self.scale)


def load_restored_teacher(path: Path, restorer: Path | None, scale: int, hardware: Hardware) -> Teacher:
    """As `load_teacher_file`, with a restorer that may have another scale."""
    teacher = load_teacher_file(path, scale, hardware)
    if restorer is None:
        return teacher
    return replace(teacher, restorer=load_teacher_file(restorer, None, hardware, "--teacher-restorer"))


def load_teacher_file(path: Path, scale: int | None, hardware: Hardware, option: str = "--teacher") -> Teacher:
    """The network of a safetensors file; half-precision weights are computed in fp32. `option` is named in errors.

    Raises TrainerError where spandrel is missing or does not know the network, and for one that does not enlarge RGB
    by `scale`, where that is given.
    """
    if path.suffix != ".safetensors":
        raise TrainerError(f"{option} {path}: a safetensors file is wanted; other formats can contain code")
    digest = file_digest(path, "a safetensors file", option)
    try:
        weights = {name: _in_fp32(tensor) for name, tensor in without_prefixes(load_file(path)).items()}
    except (SafetensorError, OSError) as error:
        raise TrainerError(
            f"{option} {path} cannot be read: {reason_of(error)}; a safetensors file is wanted"
        ) from error
    found = _descriptor(path, weights, option)
    wanted = found.scale if scale is None else scale
    if (found.scale, found.input_channels, found.output_channels) != (wanted, 3, 3):
        made = f"turns {found.input_channels} channels into {found.output_channels}, ×{found.scale}"
        raise TrainerError(f"{option} {path} {made}; a network that enlarges RGB ×{wanted} is wanted")
    hardware.place(found.model.eval().requires_grad_(False))
    return Teacher(found, wanted, str(found.architecture.id), digest)


def _in_fp32(tensor: Tensor) -> Tensor:
    """Weights in fp32; some networks also keep whole numbers, which stay."""
    return tensor.float() if tensor.is_floating_point() else tensor


def _descriptor(path: Path, weights: dict[str, Tensor], option: str) -> Any:
    """Spandrel's description of the network, which also holds it."""
    try:
        from spandrel import ModelLoader  # noqa: PLC0415 - an optional extra
    except ImportError as error:
        raise TrainerError(f"{option} needs spandrel: pip install 'pastiche[teachers]'") from error
    try:
        return ModelLoader(device="cpu").load_from_state_dict(weights)
    except Exception as error:  # whatever a library raises that guesses by keys and shapes
        raise TrainerError(f"{option} {path} is no network that spandrel knows: {error!r}") from error
