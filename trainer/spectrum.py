"""Whether an image shows a grid: the paper's feature loss leaves one (paper §4.2), and styles of our networks did.

Welch's method (1967): the power spectrum is averaged over overlapping windows, so that a pattern is found even where it
fades in and out over the image. In photographs the spectrum is smooth; a grid stands out at multiples of its frequency.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

WINDOW = 64
"""Side of the windows in pixels; periods must divide it."""

PERIODS = (2, 4, 8, 16)
"""Of the grids that can be told: those of longer ones have no frequencies between them."""

NEAR, FAR = 2, 4
"""Distances, in bins, of the frequencies that a bin is compared with: beyond the main lobe of the Hann window."""


def grid_level(plane: Tensor, period: int) -> float:
    """By how many decibels a plane (H, W) has more power at the frequencies of a grid than beside them, at most.

    About 0 where there is no grid; a few decibels for a single photograph, and more where it has little more than 64
    pixels a side. `period` is in pixels: 2, 4, 8 or 16. Raises ValueError for other periods, and for planes of less
    than 64 pixels a side.
    """
    if period not in PERIODS:
        raise ValueError(f"a period is a divisor of {WINDOW} from {PERIODS[0]} to {PERIODS[-1]}, not {period}")
    if min(plane.shape) < WINDOW:
        raise ValueError(f"a plane has {WINDOW} pixels a side or more, not {plane.shape[1]}×{plane.shape[0]}")
    power = _spectrum(plane.double())
    levels = [10 * torch.log10(F.relu(power[at]) / _beside(power, *at, period)) for at in _frequencies(period)]
    return float(torch.stack(levels).max())


def grid_energy(images: Tensor, period: int) -> Tensor:
    """The mean square of all grids in images (N, C, H, W): their power at those frequencies beyond that beside them.

    To be minimised: a network whose planes are enlarged by two easily makes such patterns, and a loss network, whose
    poolings have these periods, likes them. A wave of amplitude a along one axis has the energy a² / 2, and a² if its
    period is two; photographs have next to none. Zero for images of less than 64 pixels a side.

    What is beside is taken as given: a loss that could be lowered by raising it taught a network to weave there.
    """
    if min(images.shape[-2:]) < WINDOW:
        return images.new_zeros((), dtype=torch.float32)
    power = _spectrum(images.float()) / torch.hann_window(WINDOW).sum() ** 4
    given = power.detach()
    return torch.stack([F.relu(power[at] - _beside(given, *at, period)) for at in _frequencies(period)]).sum()


def _frequencies(period: int) -> list[tuple[int, int]]:
    """The bins of a grid, down and across."""
    multiples = range(0, WINDOW, WINDOW // period)
    return [(down, across) for down in multiples for across in multiples if (down, across) != (0, 0)]


def _spectrum(images: Tensor) -> Tensor:
    """Mean power of the windows of planes (…, H, W), (64, 64), circular in both frequencies."""
    windows = images.unfold(-2, WINDOW, WINDOW // 2).unfold(-2, WINDOW, WINDOW // 2).reshape(-1, WINDOW, WINDOW)
    hann = torch.hann_window(WINDOW, dtype=images.dtype, device=images.device)
    centred = windows - windows.mean(dim=(1, 2), keepdim=True)
    power: Tensor = torch.fft.fft2(centred * torch.outer(hann, hann)).abs().square().mean(dim=0)
    return power


def _beside(power: Tensor, down: int, across: int, period: int) -> Tensor:
    """The mean power around a bin of a grid, away from the others; of one on an axis, where photographs have more, of
    those on it."""
    around = torch.roll(power, (FAR - down, FAR - across), (0, 1))[: 2 * FAR + 1, : 2 * FAR + 1]
    offsets = torch.arange(-FAR, FAR + 1, device=power.device).abs()
    step = WINDOW // period
    nearest = torch.minimum(offsets % step, step - offsets % step)
    distance = torch.maximum(nearest[:, None], nearest[None])
    beside = (distance >= NEAR) & (offsets[:, None] <= (0 if down == 0 else FAR))
    beside &= offsets[None] <= (0 if across == 0 else FAR)
    return around[beside].mean().clamp_min(torch.finfo(power.dtype).tiny)
