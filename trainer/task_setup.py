"""What both tasks share: making the network, the photographs, the preview and the manifest's entries."""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from model_store import Draft, NetworkSpec, Provenance, TransformNetwork
from trainer.config import DESCRIPTIVE_OPTIONS, PATH_OPTIONS, RESUMABLE_OPTIONS, TrainConfig
from trainer.data import Crop, Photographs
from trainer.hardware import Hardware

PREVIEW_IMAGES = 4

GRID_PERIOD = 4
"""Period in pixels of the grids of networks that halve the sides twice."""


def new_network(config: TrainConfig, spec: NetworkSpec) -> TransformNetwork:
    """An untrained network; the same seed gives the same weights."""
    torch.manual_seed(config.seed)
    return TransformNetwork(spec)


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
    """How a network was trained: photographs, options, steps, last losses. No path of this machine is included."""
    recipe = config.model_dump(mode="json", exclude={*PATH_OPTIONS, *DESCRIPTIVE_OPTIONS, *RESUMABLE_OPTIONS})
    return Provenance(
        data=config.data or f"{len(photographs.files)} photographs",
        recipe=recipe | {"steps": config.steps, "precision": str(hardware.precision).removeprefix("torch.")},
        losses=dict(losses),
        steps=steps,
        software={"torch": torch.__version__, "device": hardware.device.type},
    )


def crops_of(
    config: TrainConfig, folder: Path, crop: Crop, side: int, zoom: float = 1.0, zoom_from: int = 0
) -> Photographs:
    """The photographs of a folder as square crops of `side` pixels, with the configuration's batch size and seed."""
    return Photographs(
        folder,
        side,
        config.batch,
        crop,
        seed=config.seed,
        cache_mb=config.cache_mb,
        zoom=zoom,
        zoom_from=zoom_from,
    )


def preview_batch(network: TransformNetwork, hardware: Hardware, photographs: Photographs) -> Tensor:
    """The same PREVIEW_IMAGES crops for every preview of a run, float32 (N, 3, S, S) on the network's device."""
    crops = torch.cat([photographs.batch(step) for step in range(-(-PREVIEW_IMAGES // photographs.size))])
    return hardware.images(crops[:PREVIEW_IMAGES]).to(next(network.parameters()).device)


def side_by_side(images: Tensor) -> Tensor:
    """(N, 3, H, W) → (3, H, N · W), limited to [0, 1]."""
    return images.clamp(0, 1).permute(1, 2, 0, 3).flatten(2)
