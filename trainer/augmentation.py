"""Random parts, shifts and sizes of images on the device, the same for several images.

They are drawn apart from where they are applied. A place is data, which a CUDA graph reads anew in each step;
`fixed_shape` leaves few shapes to what follows, each of which needs a graph of its own.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

ZOOMS = (0.7, 1.3)
"""The least and the greatest factor of `random_zoom`."""

FIXED_ZOOMS = (0.7, 0.8, 0.9, 1.0, 1.1, 1.2, 1.3)
"""Its factors where shapes are to be few."""


class Window(NamedTuple):
    """A rectangle of images, as the indices of its rows and columns."""

    rows: Tensor
    columns: Tensor

    @classmethod
    def at(cls, top: int, left: int, height: int, width: int) -> "Window":
        """The rectangle whose first row and column these are."""
        return cls(torch.arange(top, top + height), torch.arange(left, left + width))

    def of(self, images: Tensor) -> Tensor:
        """This part of images (N, C, H, W), channels last."""
        part = images.index_select(-2, self.rows).index_select(-1, self.columns)
        return part.contiguous(memory_format=torch.channels_last)


def random_part(squares: Tensor, side: int, rng: np.random.Generator) -> Tensor:
    """One random square (N, C, side, side) of (N, C, S, S), at the same place in all; `squares` where S is `side`."""
    top, left = (int(rng.integers(length - side + 1)) for length in squares.shape[-2:])
    return squares[..., top : top + side, left : left + side] if squares.shape[-1] > side else squares


def random_shift(side: int, bound: int, rng: np.random.Generator, *, fixed_shape: bool = False) -> Window:
    """A square of `side` pixels without its first rows and columns: random numbers of each, below `bound`.

    For small squares the bound is side / 16, rounded down, and at least 1. With `fixed_shape` bound - 1 rows and
    columns are missing, the other ones at the end.
    """
    most = max(1, min(bound, side // 16))
    top, left = (int(rng.integers(most)) for _ in range(2))
    if fixed_shape:
        return Window.at(top, left, side - most + 1, side - most + 1)
    return Window.at(top, left, side - top, side - left)


def random_zoom(rng: np.random.Generator, *, fixed_shape: bool = False) -> Mapping[str, float]:
    """The options of `zoomed` for a random factor in ZOOMS, and a mirror on the diagonal for half of all.

    A loss network that meets a pattern in every size and phase does not reward one that fits its pooling, as Kettunen
    et al. 2019 (E-LPIPS) found for random transformations in general.
    """
    factor, mirrored = rng.uniform(*ZOOMS), rng.random() < 0.5
    if fixed_shape:
        factor = min(FIXED_ZOOMS, key=lambda fixed: abs(fixed - factor))
    return {"factor": factor, "mirrored": mirrored}


def zoomed(images: Tensor, factor: float, *, mirrored: bool = False) -> Tensor:
    """Images (N, C, H, W) with sides times `factor`, rounded: bilinear, antialiased. Mirrored, rows become columns."""
    size = [round(side * factor) for side in images.shape[-2:]]
    result = F.interpolate(images, size, mode="bilinear", antialias=True)
    return result.transpose(-1, -2) if mirrored else result
