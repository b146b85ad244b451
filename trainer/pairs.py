"""Pairs of a damaged small image and the large one that is wanted, made from photographs.

A batch of pairs is one tensor, uint8 (N, 3 + 3 · scale², h, w): the small images' three channels, then the large ones'
(N, 3, scale · h, scale · w), pixel-unshuffled.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from trainer.data import Photographs, Pixels
from trainer.degradation import degrade


class DegradedPhotographs(Photographs):
    """As Photographs, whose batches are pairs: a photograph that is damaged and reduced, and itself."""

    def __init__(self, folder: Path, side: int, *options: Any, scale: int, seed: int, **more: Any) -> None:
        """`side`: of the large images, a multiple of the scale; the other options are those of Photographs."""
        super().__init__(folder, side, *options, seed=seed, **more)
        self._scale, self._degradation_seed = scale, seed

    def batch(self, step: int, places: range | None = None) -> Tensor:
        """The pairs of a step, or those at `places`; each depends only on `seed`, the step, its place and the files."""
        sharp = super().batch(step, places)
        low = [
            self._damaged(image, step, place) for image, place in zip(sharp, places or range(self.size), strict=True)
        ]
        return pack(torch.stack(low), sharp)

    def _damaged(self, image: Tensor, step: int, place: int) -> Tensor:
        rng = np.random.default_rng((self._degradation_seed, step, 3, place))
        return to_tensor(degrade(image.permute(1, 2, 0).numpy(), self._scale, rng))


def pack(low: Tensor, wanted: Tensor) -> Tensor:
    """Small images (N, 3, h, w) and large ones (N, 3, scale · h, scale · w) as one tensor."""
    return torch.cat([low, F.pixel_unshuffle(wanted, wanted.shape[-1] // low.shape[-1])], dim=1)


def unpack(pairs: Tensor, scale: int) -> tuple[Tensor, Tensor]:
    """The small images and the large ones of a batch of pairs, channels last."""
    low, wanted = pairs[:, :3], F.pixel_shuffle(pairs[:, 3:], scale)
    last = torch.channels_last
    return low.contiguous(memory_format=last), wanted.contiguous(memory_format=last)


def sheet(pairs: Tensor, scale: int, columns: int = 2) -> Tensor:
    """A picture of pairs, float RGB (3, H, W) in [0, 1]: each large image, and the small one, its pixels enlarged."""
    low, wanted = unpack(pairs.float() / 255, scale)
    shown = torch.cat([wanted, low.repeat_interleave(scale, -1).repeat_interleave(scale, -2)], dim=-1)
    rows = [torch.cat([*shown[first : first + columns]], dim=-1) for first in range(0, len(shown), columns)]
    return torch.cat([F.pad(row, (0, rows[0].shape[-1] - row.shape[-1])) for row in rows], dim=-2)


def to_tensor(pixels: Pixels) -> Tensor:
    """Pixels (H, W, 3) → uint8 (3, H, W)."""
    return torch.from_numpy(pixels.copy()).permute(2, 0, 1)
