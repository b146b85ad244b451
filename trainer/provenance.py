"""What a manifest says of a training."""

from collections.abc import Mapping

import torch

from model_store import Draft, Provenance
from trainer.config import DESCRIPTIVE_OPTIONS, PATH_OPTIONS, RESUMABLE_OPTIONS, TrainConfig
from trainer.data import Photographs
from trainer.hardware import Hardware


def make_draft(config: TrainConfig, task: str, provenance: Provenance) -> Draft:
    """The manifest's entries for a network, with the name and the texts of the configuration."""
    return Draft.model_validate(
        {
            "name": config.name,
            "task": task,
            "title": config.title,
            "description": config.description,
            "license": config.license,
            "provenance": provenance,
        }
    )


def make_provenance(
    config: TrainConfig, hardware: Hardware, photographs: Photographs, steps: int, losses: Mapping[str, float]
) -> Provenance:
    """How a network was trained: photographs, options, steps, last losses.

    No path of this machine is included, and no option that changes nothing in the network.
    """
    recipe = config.model_dump(mode="json", exclude={*PATH_OPTIONS, *DESCRIPTIVE_OPTIONS, *RESUMABLE_OPTIONS})
    return Provenance(
        data=config.data or photographs.description,
        recipe=recipe | {"steps": config.steps, "precision": str(hardware.precision).removeprefix("torch.")},
        losses=dict(losses),
        steps=steps,
        software={"torch": torch.__version__, "device": hardware.device.type},
    )
