"""Tones: the light and shade of a photograph, which its painting may lose where the painter used few of them.

Equation 5 asks for features of the photograph and for the painter's colours. Where most of these are light, a dark sky
becomes light as well, and a face blank paper.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from trainer.evaluate import LUMA_WEIGHTS

SQUARE = 8
"""Side of the squares whose mean luma is compared, in pixels: about the width of a brush stroke, or of an eye."""

DISTANCES = (1, 2, 4, 8)
"""Between two squares that are compared, in squares: from the parts of a face to a head and what is behind it."""

KEPT = 0.6
"""The share of the photograph's contrast that a painting has to keep."""

EVEN = 0.01
"""A contrast that nobody sees, of luma in [0, 1]: what a photograph without any lacks is divided by its square."""


def lost_tones(images: Tensor, photographs: Tensor) -> Tensor:
    """The share of the contrast of photographs (N, 3, H, W) that their paintings lack of KEPT, a loss.

    0 where they lack none, KEPT for paintings of one tone, more where light and dark have changed places. Differences
    of the luma of squares along both axes count by those of the photograph, in each photograph by itself. What is
    whiter than white counts as white. Zero for images that have not two squares a side.
    """
    found, wanted = _tones(images.clamp(0, 1)), _tones(photographs)
    lost = [
        _lost(_differences(found, distance, axis), _differences(wanted, distance, axis))
        for distance in DISTANCES
        for axis in (-2, -1)
        if distance < wanted.shape[axis]
    ]
    return torch.stack(lost).mean() if lost else images.new_zeros((), dtype=torch.float32)


def _tones(images: Tensor) -> Tensor:
    """The mean luma of squares (N, H / SQUARE, W / SQUARE), in [0, 1]."""
    if min(images.shape[-2:]) < SQUARE:
        return images.new_zeros((len(images), 0, 0), dtype=torch.float32)
    channels = F.avg_pool2d(images.float(), SQUARE).unbind(dim=1)
    weighted = [weight * channel for weight, channel in zip(LUMA_WEIGHTS, channels, strict=True)]
    return torch.stack(weighted).sum(dim=0) / sum(LUMA_WEIGHTS)


def _lost(found: Tensor, wanted: Tensor) -> Tensor:
    """Of differences (N, H, W), the mean over the images."""
    lacking = F.relu(KEPT * wanted.square() - found * wanted).mean((-2, -1))
    return (lacking / (wanted.square().mean((-2, -1)) + EVEN**2)).mean()


def _differences(tones: Tensor, distance: int, axis: int) -> Tensor:
    count = tones.shape[axis] - distance
    return tones.narrow(axis, distance, count) - tones.narrow(axis, 0, count)
