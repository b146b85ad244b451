"""What the training loop trains: a `Task`, made by `build` from a configuration."""

from collections.abc import Mapping
from typing import Protocol

from torch import Tensor

from model_store import Draft, TransformNetwork
from trainer.adversary import Discriminator
from trainer.config import StyleConfig, SuperResolutionConfig, TrainConfig
from trainer.data import Photographs
from trainer.errors import TrainerError
from trainer.hardware import Hardware
from trainer.step_inputs import StepInputs
from trainer.style import StyleTask
from trainer.super_resolution import SuperResolutionTask


class Task(Protocol):
    """A network, its photographs and its losses; `StyleTask` and `SuperResolutionTask` are the two of the paper."""

    network: TransformNetwork
    hardware: Hardware
    photographs: Photographs
    discriminator: Discriminator | None
    """Learns beside the network, from the same losses; it is no part of what is published."""

    @property
    def fingerprint(self) -> str:
        """Identifies the photographs, the loss network and the teacher: a run is resumed only where it is equal."""

    def inputs(self, batch: Tensor, step: int, /) -> StepInputs:
        """What the losses of `step` are computed from, for uint8 photographs (N, 3, S, S): all that differs in it."""

    def losses(self, inputs: StepInputs, /) -> dict[str, Tensor]:
        """The weighted terms of the loss, whose sum is minimised. A CUDA graph can be captured of what they compute."""

    def preview(self, network: TransformNetwork) -> Tensor:
        """What `network` makes of a few photographs, as one float RGB image (3, H, W)."""

    def draft(self, network: TransformNetwork, /, steps: int, losses: Mapping[str, float]) -> Draft:
        """The manifest's entries for `network` after `steps` steps."""


def build(config: TrainConfig, hardware: Hardware) -> Task:
    """The task for a configuration; raises TrainerError where the configuration's options contradict each other."""
    if isinstance(config, StyleConfig):
        return StyleTask(config, hardware)
    if isinstance(config, SuperResolutionConfig):
        return SuperResolutionTask(config, hardware)
    raise TrainerError(f"no task for a {type(config).__name__}")
