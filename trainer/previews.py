"""The pictures by which a training is followed."""

import torch
from torch import Tensor

from model_store import TransformNetwork
from trainer.data import Photographs
from trainer.hardware import Hardware

PREVIEW_IMAGES = 4


def preview_batch(network: TransformNetwork, hardware: Hardware, photographs: Photographs) -> Tensor:
    """The same PREVIEW_IMAGES crops for every preview of a run, float32 (N, 3, S, S) on the network's device."""
    crops = torch.cat([photographs.batch(step) for step in range(-(-PREVIEW_IMAGES // photographs.size))])
    return hardware.images(crops[:PREVIEW_IMAGES]).to(next(network.parameters()).device)


def require_usable(photographs: Photographs) -> None:
    """Raise DataError where there is nothing to show: before a training, and not hours later."""
    photographs.batch(0)


def side_by_side(images: Tensor) -> Tensor:
    """(N, 3, H, W) → (3, H, N · W), limited to [0, 1]."""
    return images.clamp(0, 1).permute(1, 2, 0, 3).flatten(2)
