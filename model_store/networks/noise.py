"""Noise that networks see beside the image: what irregular detail is made of.

It is uniform, with mean 0 and variance 1. A finished network has one pattern of it, which is the same for all images.
"""

import torch
from torch import Tensor

NOISE_PERIOD = 32
"""Input pixels after which the pattern repeats, in both directions: tiles begin at multiples of it."""

NOISE_LIMIT = 3**0.5
"""The largest value; the least one is the negative."""


def noise_pattern(channels: int) -> Tensor:
    """That of all networks with so many channels: one period, (1, channels, NOISE_PERIOD, NOISE_PERIOD)."""
    shape = 1, channels, NOISE_PERIOD, NOISE_PERIOD
    return (2 * torch.rand(shape, generator=torch.Generator().manual_seed(0)) - 1) * NOISE_LIMIT


def repeated(pattern: Tensor, begin: int, height: int, width: int) -> Tensor:
    """The pattern for planes of `height` × `width` whose rows and columns begin at the coordinate `begin`."""
    rows, columns = (torch.arange(begin, begin + side, device=pattern.device) for side in (height, width))
    return pattern.index_select(2, rows % NOISE_PERIOD).index_select(3, columns % NOISE_PERIOD)
