"""How good a super-resolution network is, by the field's protocol.

High-resolution images are cropped to a multiple of the scale, reduced bicubically (antialiased, 8-bit), enlarged by
the network and compared on luma (ITU-R BT.601, 16 to 235) without a border of `scale` pixels. Bicubic enlargement
reaches 28.43 dB and SSIM 0.811 on Set5 ×4 in this protocol.
"""

from collections.abc import Callable
from pathlib import Path
from statistics import fmean

import torch
from torch import Tensor
from torch.nn import functional as F

from trainer.data import image_files, read_image, read_rgb, reduced
from trainer.errors import DataError
from trainer.spectrum import PERIODS, WINDOW, grid_level

HIGHEST_PSNR = 100.0
"""Decibels that an image without any error counts as; without a bound, one flat image would decide the mean."""

SSIM_WINDOW = 11

Enlarge = Callable[[Tensor], Tensor]
"""RGB (1, 3, H, W) in [0, 1] → the same, side × scale."""


def evaluate(enlarge: Enlarge, folder: Path, scale: int) -> dict[str, float]:
    """Means over the images of a folder of what `scores` finds in each, for the grid in those that can have one."""
    found = [scores(enlarge, sharp_image(path, scale), scale) for path in judged_images(folder, scale, "--images")]
    names = dict.fromkeys(name for score in found for name in score)
    return {name: fmean(score[name] for score in found if name in score) for name in names}


def judged_images(folder: Path, scale: int, option: str) -> list[Path]:
    """The images of a folder; raises DataError, naming it, for one that cannot be read or is too small to judge."""
    files = image_files(folder, option)
    least = SSIM_WINDOW + 3 * scale
    for path in files:
        width, height = read_image(path).size
        if min(width, height) < least:
            raise DataError(f"{path} is {width}×{height}; {option} takes images of {least}×{least} pixels or more")
    return files


def bicubic(scale: int) -> Enlarge:
    """Bicubic enlargement, the baseline."""

    def enlarge(low: Tensor) -> Tensor:
        return F.interpolate(low, scale_factor=float(scale), mode="bicubic", antialias=True)

    return enlarge


def luma(image: Tensor) -> Tensor:
    """RGB (N, 3, H, W) in [0, 1] → Y (N, 1, H, W) in [16, 235] (ITU-R BT.601, as MATLAB's rgb2ycbcr), float64."""
    weights = torch.tensor([65.481, 128.553, 24.966], dtype=torch.float64, device=image.device)
    return 16 + torch.einsum("nchw,c->nhw", image.double(), weights)[:, None]


def psnr(one: Tensor, other: Tensor) -> float:
    """Peak signal-to-noise ratio of two planes of 8-bit range, in dB, at most HIGHEST_PSNR."""
    return min(HIGHEST_PSNR, float(10 * torch.log10(255**2 / (one - other).square().mean())))


def ssim(one: Tensor, other: Tensor) -> float:
    """Structural similarity (Wang et al. 2004): Gaussian window 11×11, σ 1.5, no downsampling."""
    kernel = torch.exp(-((torch.arange(SSIM_WINDOW, dtype=torch.float64) - SSIM_WINDOW // 2) ** 2) / (2 * 1.5**2))
    window = torch.outer(kernel, kernel)[None, None] / kernel.sum() ** 2

    def local(plane: Tensor) -> Tensor:
        return F.conv2d(plane, window.to(plane.device))

    mean_one, mean_other = local(one), local(other)
    variance_one = local(one * one) - mean_one**2
    variance_other = local(other * other) - mean_other**2
    covariance = local(one * other) - mean_one * mean_other
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    similarity = ((2 * mean_one * mean_other + c1) * (2 * covariance + c2)) / (
        (mean_one**2 + mean_other**2 + c1) * (variance_one + variance_other + c2)
    )
    return float(similarity.mean())


def scores(enlarge: Enlarge, sharp: Tensor, scale: int) -> dict[str, float]:
    """PSNR (dB) and SSIM of one image, (1, 3, H, W) with sides that are multiples of the scale; how far a grid stands
    out of its enlargement (dB, see `grid_level`), where the image is large enough to tell.

    The grid's period is twice the scale, or 16: its frequencies are those of the scale, and between them of weaves.
    """
    planes = [luma(image)[..., scale:-scale, scale:-scale] for image in (again(enlarge, sharp, scale), sharp)]
    return {"psnr": psnr(*planes), "ssim": ssim(*planes)} | _grid(planes[0][0, 0], min(2 * scale, PERIODS[-1]))


def _grid(plane: Tensor, period: int) -> dict[str, float]:
    if period not in PERIODS or min(plane.shape) < WINDOW:
        return {}
    return {"grid": grid_level(plane, period)}


def again(enlarge: Enlarge, sharp: Tensor, scale: int) -> Tensor:
    """What is left of an image that was reduced and enlarged, in 8 bits."""
    with torch.inference_mode():
        enlarged = enlarge(reduced(sharp, scale))
    return (enlarged.clamp(0, 1) * 255).round() / 255


def sharp_image(path: Path, scale: int) -> Tensor:
    """An image, (1, 3, H, W) in [0, 1], cropped to a multiple of the scale."""
    pixels = torch.from_numpy(read_rgb(path).copy()).permute(2, 0, 1)[None].float() / 255
    height, width = (side - side % scale for side in pixels.shape[-2:])
    return pixels[..., :height, :width]
