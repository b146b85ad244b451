"""Blotches: patches of another colour in a painting where the photograph has an even one, such as skin.

A network may answer a slight change of shade in the photograph with another of the painting's colours: equation 5 asks
for these colours, and not for where they are.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

SIZES = (16, 32)
"""Sides of the squares that are compared, in pixels: larger than most brush strokes, smaller than most faces."""

CONTRAST = 1.5
"""How many times the photograph's contrast a painting's contrast of hue may be."""


def blotch_energy(images: Tensor, photographs: Tensor) -> Tensor:
    """The mean square of the hue's changes in images (N, 3, H, W) that their photographs do not have, a loss.

    The mean colours of squares that touch are compared: of their squared difference in hue (without the mean of red,
    green and blue, as lightness is the photograph's modelling) what exceeds CONTRAST² times the squared difference in
    the photograph counts. Zero for images that have not two squares of any size a side.
    """
    sizes = [size for size in SIZES if min(images.shape[-2:]) >= 2 * size]
    if not sizes:
        return images.new_zeros((), dtype=torch.float32)
    hues = images.float() - images.float().mean(dim=1, keepdim=True)
    return torch.stack([_excess(hues, photographs.float(), size) for size in sizes]).mean()


def _excess(hues: Tensor, photographs: Tensor, size: int) -> Tensor:
    """For squares of a size, along both axes."""
    found, wanted = (F.avg_pool2d(planes, size, size // 2) for planes in (hues, photographs))
    along = [F.relu(_change(found, axis) - CONTRAST**2 * _change(wanted, axis)).mean() for axis in (-2, -1)]
    return torch.stack(along).mean()


def _change(means: Tensor, axis: int) -> Tensor:
    """The squared difference of the means of half-overlapping squares (N, 3, H, W) that touch, summed over channels."""
    count = means.shape[axis] - 2
    return (means.narrow(axis, 2, count) - means.narrow(axis, 0, count)).square().sum(dim=1)
