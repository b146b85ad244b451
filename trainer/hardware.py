"""The device of a run, and the precision of its networks."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from model_store import has_fast_bf16
from model_store.processors import available_cpus
from trainer.config import Precision
from trainer.errors import TrainerError


@dataclass(frozen=True)
class Hardware:
    """A device, and the precision of networks on it; losses are computed in fp32 always."""

    device: torch.device
    precision: torch.dtype
    fixed_shapes: bool = False
    """Whether random sizes are to be few, since each is captured for itself (`trainer.step_graph`)."""

    @classmethod
    def of(cls, device: str, precision: Precision, threads: int = 0) -> "Hardware":
        """The device and the precision for the options of those names.

        Sets torch's CPU threads; with 0 only where torch would use more than the quota of a container.
        Device "auto" is a GPU where there is one, precision "auto" is bf16 where the device computes fast in it.
        Raises TrainerError for a GPU where torch finds none.
        """
        if threads or torch.get_num_threads() > available_cpus():
            torch.set_num_threads(threads or available_cpus())
        chosen = torch.device(("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device)
        if chosen.type == "cuda" and not torch.cuda.is_available():
            raise TrainerError(f"--device {device}: torch finds no GPU here; --device cpu works everywhere")
        bf16 = precision == "bf16" or (precision == "auto" and has_fast_bf16(chosen))
        precision_of_networks = torch.bfloat16 if bf16 else torch.float32
        return cls(chosen, precision_of_networks, fixed_shapes=chosen.type == "cuda")

    def autocast(self) -> torch.autocast:
        """The context for the forward passes of networks; it does nothing in fp32."""
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.precision == torch.bfloat16)

    def images(self, batch: Tensor) -> Tensor:
        """uint8 (N, 3, H, W) → float32 in [0, 1] on the device, channels last."""
        return (self.upload(batch).float() / 255).contiguous(memory_format=torch.channels_last)

    def upload(self, tensor: Tensor) -> Tensor:
        """The tensor on the device.

        To a GPU it is copied from page-locked memory: from other memory, a copy waits for all that was launched before.
        """
        if self.device.type == "cuda" and tensor.device.type == "cpu":
            tensor = tensor.pin_memory()
        return tensor.to(self.device, non_blocking=True)

    def place(self, network: nn.Module) -> None:
        """Move a network to the device, in place, in the channels-last memory format."""
        network.to(self.device).to(memory_format=torch.channels_last)
