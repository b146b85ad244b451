"""What is trained: a network, its images, its losses. The training loop knows no more of a task than `Task` says."""

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from model_store import Draft, NetworkSpec, Provenance, TransformNetwork
from trainer.config import FREE, PLACES, STORY, TrainConfig
from trainer.data import Cut, Photographs
from trainer.hardware import Hardware

PREVIEW_IMAGES = 4

STRIDE = 4
"""Pixels after which a network that halves the side twice repeats itself: the period of its grids."""


class Task(Protocol):
    """One of the two problems of the paper."""

    network: TransformNetwork
    photographs: Photographs

    @property
    def fingerprint(self) -> str:
        """Of the images, the loss network and the teacher: equal where a run can be resumed."""

    def losses(self, batch: Tensor, step: int, /) -> dict[str, Tensor]:
        """The weighted terms of the loss of a step for uint8 photographs (N, 3, S, S); their sum is minimised."""

    def preview(self, network: TransformNetwork) -> Tensor:
        """A picture of what `network` does, float RGB (3, H, W)."""

    def draft(self, network: TransformNetwork, /, steps: int, losses: Mapping[str, float]) -> Draft:
        """What the manifest says of the trained network."""


def new_network(config: TrainConfig, spec: NetworkSpec) -> TransformNetwork:
    """An untrained one, the same for the same seed."""
    torch.manual_seed(config.seed)
    return TransformNetwork(spec)


def drafted(config: TrainConfig, task: str, provenance: Provenance) -> Draft:
    """What the manifest says of a network, in the words of the configuration."""
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


def provenance_of(
    config: TrainConfig, hardware: Hardware, photographs: Photographs, steps: int, losses: Mapping[str, float]
) -> Provenance:
    """How a network was made: on what, by which recipe, to which losses."""
    recipe = config.model_dump(mode="json", exclude={*PLACES, *STORY, *FREE})
    return Provenance(
        data=config.data or f"{len(photographs.files)} photographs",
        recipe=recipe | {"steps": config.steps, "precision": str(hardware.precision).removeprefix("torch.")},
        losses=dict(losses),
        steps=steps,
        software={"torch": torch.__version__, "device": hardware.device.type},
    )


def cropped(
    config: TrainConfig, folder: Path, cut: Cut, side: int, zoom: float = 1.0, zoom_from: int = 0
) -> Photographs:
    """The photographs of a folder as crops of that side, in the batches of the configuration."""
    return Photographs(
        folder,
        side,
        config.batch,
        cut,
        seed=config.seed,
        cache_mb=config.cache_mb,
        zoom=zoom,
        zoom_from=zoom_from,
    )


def previewed(network: TransformNetwork, hardware: Hardware, photographs: Photographs) -> Tensor:
    """The same few crops for every preview of a run, where the network is."""
    crops = torch.cat([photographs.batch(step) for step in range(-(-PREVIEW_IMAGES // photographs.size))])
    return hardware.images(crops[:PREVIEW_IMAGES]).to(next(network.parameters()).device)


def row(images: Tensor) -> Tensor:
    """(N, 3, H, W) side by side: (3, H, N · W)."""
    return images.clamp(0, 1).permute(1, 2, 0, 3).flatten(2)
