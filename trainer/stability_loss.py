"""Stability for video: a photograph that is moved or noisy is to be painted as the photograph is, moved.

A network that is trained on photographs alone may answer a change that nobody sees with other brush strokes, which
flicker in a video. The idea is that of Zheng et al. 2016, *Improving the Robustness of Deep Neural Networks via
Stability Training*; on single images it needs neither videos nor optical flow.
"""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

STEP = 4
"""Rows and columns that are cut off, a multiple of the networks' strides. Photographs move by 0 to STEP pixels."""

NOISE = 2 / 255
"""The standard deviation of the noise: that of a good sensor."""

MARGIN = 16
"""Pixels at each border whose painting depends on what is beyond; an eighth of the side, for small images."""


def stability_loss(
    paint: Callable[[Tensor], Tensor], photographs: Tensor, painted: Tensor, rng: np.random.Generator
) -> Tensor:
    """The mean squared difference of `painted`, moved, from what is painted of the photographs, moved and noisy.

    `photographs` and `painted`, what `paint` makes of them, are (N, 3, S, S) in [0, 1]. Borders do not count.
    """
    top, left = (int(rng.integers(STEP + 1)) for _ in range(2))
    moved = _part(photographs, top, left)
    noise = torch.from_numpy(rng.normal(0, NOISE, tuple(moved.shape)).astype(np.float32)).to(moved)
    again = paint((moved + noise).clamp(0, 1))
    margin = min(MARGIN, moved.shape[-1] // 8)
    difference = again.float() - _part(painted, top, left).float()
    inside = slice(margin, moved.shape[-1] - margin)
    return difference[..., inside, inside].square().mean()


def _part(images: Tensor, top: int, left: int) -> Tensor:
    """All but STEP rows and columns, from these on."""
    side = images.shape[-1] - STEP
    return images[..., top : top + side, left : left + side]
