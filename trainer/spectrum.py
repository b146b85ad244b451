"""Grids in images, such as the paper's feature loss leaves (§4.2), measured in the power spectrum.

The spectrum is averaged over overlapping windows (Welch 1967), so that a grid in a part of the image, or of changing
phase, is found. Spectra of photographs are smooth; a grid has peaks at multiples of its frequency.
"""

from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from trainer.ranks import mean_over_ranks

WINDOW = 64
"""Side of the windows in pixels; periods must divide it."""

PERIODS = (2, 4, 8, 16)
"""The periods in pixels that can be measured; between the frequencies of longer ones there are none to compare with."""

GRID_PERIOD = 4
"""That of the grids of networks which halve the sides twice."""

NEAR, FAR = 2, 4
"""Least and greatest distance, in bins, of the bins that one is compared with; less is the Hann window's main lobe."""

TEXTURE_PERIODS = (5, 16)
"""The shortest and longest period in pixels of the texture that networks leave in flat regions: too long for a grid of
their layers, too short for brush strokes."""

FLAT_SHARE = 0.25
"""The share of a photograph's windows that counts as flat."""

REGULAR = 2.0
"""How many times the median of its period the power of a wave is from which on a texture counts as regular."""


class Texture(NamedTuple):
    """What a network paints where the photograph shows nothing."""

    deviation: float
    """The standard deviation of periods TEXTURE_PERIODS, in the unit of the plane."""
    peak: float
    """How far the strongest of these waves stands out of all of its period, in dB: about 5 for irregular strokes, 0 for
    one colour."""
    period: float
    """Of that wave, in pixels."""


def grid_level(plane: Tensor, period: int) -> float:
    """The power of a plane (H, W) at the frequencies of a grid over that beside them, in dB; the highest of them.

    Without a grid it is about 0, in one colour too, for a single photograph up to a few dB, and more where a side has
    little more than 64 pixels. Raises ValueError for a `period` that is not in PERIODS, and for a side of less than 64
    pixels.
    """
    if period not in PERIODS:
        raise ValueError(f"a period is a divisor of {WINDOW} from {PERIODS[0]} to {PERIODS[-1]}, not {period}")
    if min(plane.shape) < WINDOW:
        raise ValueError(f"a plane has {WINDOW} pixels a side or more, not {plane.shape[1]}×{plane.shape[0]}")
    power = _spectrum(plane.double())
    return float((10 * torch.log10(_positive(_grid_power(power, period)) / _neighbour_power(power, period))).max())


def grid_energy(images: Tensor, period: int) -> Tensor:
    """The mean square of the grids of a period in images (N, C, H, W), a loss: power above that of the bins beside.

    A wave of amplitude a along one axis has the energy a² / 2, and a² for period 2; photographs have almost none. Zero
    for images of less than 64 pixels a side.

    The power beside has no gradient: with one, a network lowered the loss by patterns at the frequencies beside.
    """
    if min(images.shape[-2:]) < WINDOW:
        return images.new_zeros((), dtype=torch.float32)
    power = mean_over_ranks(_spectrum(images.float()))
    power = power / torch.hann_window(WINDOW, device=power.device).sum() ** 4
    return F.relu(_grid_power(power, period) - _neighbour_power(power.detach(), period)).sum()


def flat_texture(plane: Tensor, photograph: Tensor) -> Texture:
    """The texture of a painted plane (H, W) in the flattest windows of its photograph's plane (H, W).

    Raises ValueError for a side of less than 64 pixels.
    """
    if min(plane.shape) < WINDOW:
        raise ValueError(f"a plane has {WINDOW} pixels a side or more, not {plane.shape[1]}×{plane.shape[0]}")
    power = _mean_power(_windows(plane.double())[_flattest(photograph.double())])
    radius = _radii(power)
    band = _is_texture(radius)
    prominence = torch.where(band, _positive(power) / _ring_medians(power), 0)
    period = WINDOW / radius.flatten()[prominence.argmax()]
    variance = power[band].sum() / WINDOW**2 / torch.hann_window(WINDOW).double().square().sum() ** 2
    return Texture(float(variance.sqrt()), float(10 * prominence.max().log10()), float(period))


def texture_energy(images: Tensor, photographs: Tensor) -> Tensor:
    """The mean square of regular textures in images (N, C, H, W), in the flattest windows of their photographs, a loss.

    It is the power of periods TEXTURE_PERIODS above REGULAR times the median of all waves of a period: irregular
    strokes have little. Zero for images of less than 64 pixels a side. The median has no gradient, as in `grid_energy`.
    """
    if min(images.shape[-2:]) < WINDOW:
        return images.new_zeros((), dtype=torch.float32)
    flattest = [_flattest(photograph.mean(dim=0)) for photograph in photographs.float()]
    pairs = zip(images.float(), flattest, strict=True)
    windows = [_windows(plane).index_select(0, flat) for image, flat in pairs for plane in image]
    power = _mean_power(torch.cat(windows))
    power = mean_over_ranks(power) / WINDOW**2 / torch.hann_window(WINDOW, device=power.device).square().sum() ** 2
    excess = F.relu(power - REGULAR * _ring_medians(power.detach()))
    return excess.flatten().index_select(0, _texture_bins(power.device)).sum()


def _flattest(photograph: Tensor) -> Tensor:
    """The positions of the flattest windows of a photograph's plane (H, W) among all."""
    contrast = _windows(photograph).std(dim=(1, 2))
    return contrast.argsort()[: max(1, round(FLAT_SHARE * len(contrast)))]


def _radii(power: Tensor) -> Tensor:
    """The distance of each bin of a spectrum (64, 64) from zero, in bins."""
    frequencies = torch.fft.fftfreq(WINDOW, dtype=power.dtype, device=power.device).mul(WINDOW)
    return torch.hypot(frequencies[:, None], frequencies[None])


def _is_texture(radius: Tensor) -> Tensor:
    """Which bins have TEXTURE_PERIODS."""
    return (radius >= WINDOW / TEXTURE_PERIODS[1]) & (radius <= WINDOW / TEXTURE_PERIODS[0])


def _ring_medians(power: Tensor) -> Tensor:
    """For each bin of a spectrum (64, 64) the median power of those at the same distance from zero, to a bin."""
    members, ring_of_bin = _rings(power.device)
    medians = torch.stack([power.flatten().index_select(0, bins).median() for bins in members])
    return _positive(medians).index_select(0, ring_of_bin).view_as(power)


def _grid_power(power: Tensor, period: int) -> Tensor:
    """The power at the frequencies of a grid, (number of them,)."""
    return power.flatten().index_select(0, _grid_bins(period, power.device).grid)


def _neighbour_power(power: Tensor, period: int) -> Tensor:
    """For each frequency of a grid the mean power of bins NEAR to FAR from it, without those of the grid.

    For a bin on an axis, where photographs have more power, only bins on that axis.
    """
    bins, flat = _grid_bins(period, power.device), power.flatten()
    means = [flat.index_select(0, beside.flatten()).view_as(beside).mean(dim=1) for beside in bins.beside]
    return _positive(torch.cat(means).index_select(0, bins.order))


def _positive(power: Tensor) -> Tensor:
    """Powers by which, and into which, can be divided: those of one colour are 0."""
    return power.clamp_min(torch.finfo(power.dtype).tiny)


class _GridBins(NamedTuple):
    """Indices of a flattened spectrum; as constants on the device they can be read by a CUDA graph."""

    grid: Tensor
    """The frequencies of a grid."""
    beside: list[Tensor]
    """Those beside: a row for each frequency; frequencies with equally many of them are together."""
    order: Tensor
    """Where each frequency is among the rows."""


@lru_cache
@torch.inference_mode(False)
def _grid_bins(period: int, device: torch.device) -> _GridBins:
    frequencies = _frequencies(period)
    beside = [_beside(down, across, period) for down, across in frequencies]
    lengths = [len(bins) for bins in beside]
    order = sorted(range(len(beside)), key=lambda index: lengths[index])
    groups = [torch.tensor([beside[i] for i in order if lengths[i] == length]) for length in sorted(set(lengths))]
    grid = torch.tensor([down * WINDOW + across for down, across in frequencies])
    return _GridBins(grid.to(device), [group.to(device) for group in groups], torch.tensor(order).argsort().to(device))


def _beside(down: int, across: int, period: int) -> list[int]:
    """The bins that a frequency of a grid is compared with, see `_neighbour_power`."""
    return [
        (down + below) % WINDOW * WINDOW + (across + right) % WINDOW
        for below in (range(-FAR, FAR + 1) if down else [0])
        for right in (range(-FAR, FAR + 1) if across else [0])
        if max(_distance(below, period), _distance(right, period)) >= NEAR
    ]


def _distance(offset: int, period: int) -> int:
    """From the nearest frequency of a grid, in bins, at `offset` bins from one."""
    step = WINDOW // period
    return min(offset % step, -offset % step)


@lru_cache
@torch.inference_mode(False)
def _rings(device: torch.device) -> tuple[list[Tensor], Tensor]:
    """The bins of each ring about zero, a bin wide; and for each bin the number of its ring."""
    rings, ring_of_bin = _radii(torch.zeros(1, dtype=torch.float64)).round().flatten().unique(return_inverse=True)
    members = [(ring_of_bin == ring).nonzero().flatten().to(device) for ring in range(len(rings))]
    return members, ring_of_bin.to(device)


@lru_cache
@torch.inference_mode(False)
def _texture_bins(device: torch.device) -> Tensor:
    """The bins that have TEXTURE_PERIODS."""
    return _is_texture(_radii(torch.zeros(1, dtype=torch.float64))).flatten().nonzero().flatten().to(device)


def _frequencies(period: int) -> list[tuple[int, int]]:
    """The bins (vertical, horizontal) of a grid, without the mean."""
    multiples = range(0, WINDOW, WINDOW // period)
    return [(down, across) for down in multiples for across in multiples if (down, across) != (0, 0)]


def _spectrum(images: Tensor) -> Tensor:
    """Planes (…, H, W) → their mean power spectrum (64, 64), over half-overlapping Hann windows without their means."""
    return _mean_power(_windows(images))


def _windows(images: Tensor) -> Tensor:
    """Planes (…, H, W) → their half-overlapping windows (N, 64, 64)."""
    return images.unfold(-2, WINDOW, WINDOW // 2).unfold(-2, WINDOW, WINDOW // 2).reshape(-1, WINDOW, WINDOW)


def _mean_power(windows: Tensor) -> Tensor:
    """Windows (N, 64, 64) → their mean power spectrum (64, 64), under a Hann window and without their means."""
    hann = torch.hann_window(WINDOW, dtype=windows.dtype, device=windows.device)
    centred = windows - windows.mean(dim=(1, 2), keepdim=True)
    power: Tensor = torch.fft.fft2(centred * torch.outer(hann, hann)).abs().square().mean(dim=0)
    return power
