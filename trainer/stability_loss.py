"""Stability for video: a photograph that is moved or noisy is to be painted as the photograph is, moved.

A network that is trained on photographs alone may answer a change that nobody sees with other brush strokes, which
flicker in a video. The idea is that of Zheng et al. 2016, *Improving the Robustness of Deep Neural Networks via
Stability Training*; on single images it needs neither videos nor optical flow.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from trainer.augmentation import Window

STEP = 4
"""Rows and columns that are cut off, a multiple of the networks' strides. Photographs move by 0 to STEP pixels."""

NOISE = 2 / 255
"""The standard deviation of the noise: that of a good sensor."""

MARGIN = 16
"""Pixels at each border whose painting depends on what is beyond; an eighth of the side, for small images."""


class Disturbed(NamedTuple):
    """Photographs that are moved and noisy."""

    images: Tensor
    """(N, 3, S - STEP, S - STEP) in [0, 1]."""
    window: Window
    """Where they are in the photographs."""


def disturbed(photographs: Tensor, rng: np.random.Generator) -> Disturbed:
    """Photographs (N, 3, S, S) in [0, 1] without STEP rows and columns, at random, and with noise."""
    side = photographs.shape[-1] - STEP
    top, left = (int(rng.integers(STEP + 1)) for _ in range(2))
    moved = photographs[..., top : top + side, left : left + side]
    images = (moved + _noise(moved, rng)).clamp(0, 1).contiguous(memory_format=torch.channels_last)
    return Disturbed(images, Window.at(top, left, side, side))


def stability_loss(paint: Callable[[Tensor], Tensor], painted: Tensor, moved: Disturbed) -> Tensor:
    """The mean squared difference of `painted`, moved, from what is painted of the photographs, moved and noisy.

    `painted`, what `paint` makes of the photographs, is (N, 3, S, S) in [0, 1]. Borders do not count.
    """
    side = moved.images.shape[-1]
    margin = min(MARGIN, side // 8)
    difference = paint(moved.images).float() - moved.window.of(painted).float()
    inside = slice(margin, side - margin)
    return difference[..., inside, inside].square().mean()


def _noise(like: Tensor, rng: np.random.Generator) -> Tensor:
    """Drawn by the device that it is for: a CPU takes longer than a GPU for the rest of a step."""
    if like.device.type == "cpu":
        return torch.from_numpy(rng.normal(0, NOISE, tuple(like.shape)).astype(np.float32))
    generator = torch.Generator(like.device).manual_seed(int(rng.integers(2**63)))
    return NOISE * torch.randn(like.shape, generator=generator, device=like.device)
