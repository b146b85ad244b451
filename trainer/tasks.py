"""Which task a configuration describes."""

from trainer.config import StyleConfig, SuperResolutionConfig, TrainConfig
from trainer.errors import TrainerError
from trainer.hardware import Hardware
from trainer.style import StyleTask
from trainer.super_resolution import SuperResolutionTask
from trainer.task import Task


def build(config: TrainConfig, hardware: Hardware) -> Task:
    """The task that a configuration describes."""
    if isinstance(config, StyleConfig):
        return StyleTask(config, hardware)
    if isinstance(config, SuperResolutionConfig):
        return SuperResolutionTask(config, hardware)
    raise TrainerError(f"no task for a {type(config).__name__}")
