"""PSNR and SSIM of super-resolution networks by the usual protocol.

High-resolution images are cropped to a multiple of the scale, reduced bicubically (antialiased, 8 bits), enlarged by
the network and compared on luma (ITU-R BT.601, 16 to 235) without a border of `scale` pixels. Bicubic enlargement has
28.43 dB and SSIM 0.8113 on Set5 ×4.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import fmean

import torch
from torch import Tensor
from torch.nn import functional as F

from trainer.data import image_files, low_resolution, read_image, read_rgb
from trainer.errors import DataError
from trainer.spectrum import PERIODS, WINDOW, grid_level

MAX_PSNR = 100.0
"""Upper limit of the PSNR in dB; an image without error, whose PSNR is infinite, would make the mean infinite."""

LUMA_WEIGHTS = (65.481, 128.553, 24.966)
"""Of R, G and B in [0, 1] (ITU-R BT.601), as in MATLAB's rgb2ycbcr."""

SSIM_WINDOW = 11

Enlarge = Callable[[Tensor], Tensor]
"""RGB (1, 3, H, W) in [0, 1] → RGB (1, 3, scale · H, scale · W)."""


def evaluate(enlarge: Enlarge, folder: Path, scale: int) -> dict[str, float]:
    """The means of `score_image` over a folder; `grid` over the images that have it. Raises as `evaluation_images`."""
    found = [
        score_image(enlarge, sharp_image(path, scale), scale) for path in evaluation_images(folder, scale, "--images")
    ]
    names = dict.fromkeys(name for score in found for name in score)
    return {name: fmean(score[name] for score in found if name in score) for name in names}


def evaluation_images(folder: Path, scale: int, option: str) -> list[Path]:
    """The images of a folder. Raises DataError for one that cannot be read, or is too small for SSIM at that scale."""
    files = image_files(folder, option)
    least = SSIM_WINDOW + 3 * scale
    for path in files:
        width, height = read_image(path).size
        if min(width, height) < least:
            raise DataError(f"{path} is {width}×{height}; {option} takes images of {least}×{least} pixels or more")
    return files


def bicubic(scale: int) -> Enlarge:
    """Bicubic enlargement by `scale`, the baseline."""

    def enlarge(low: Tensor) -> Tensor:
        return F.interpolate(low, scale_factor=float(scale), mode="bicubic", antialias=True)

    return enlarge


def luma(image: Tensor) -> Tensor:
    """RGB (N, 3, H, W) in [0, 1] → Y (N, 1, H, W) in [16, 235] (ITU-R BT.601, as MATLAB's rgb2ycbcr), float64."""
    weights = torch.tensor(LUMA_WEIGHTS, dtype=torch.float64, device=image.device)
    return 16 + torch.einsum("nchw,c->nhw", image.double(), weights)[:, None]


def psnr(one: Tensor, other: Tensor) -> float:
    """Peak signal-to-noise ratio of two planes in [0, 255], in dB, at most MAX_PSNR."""
    return min(MAX_PSNR, float(10 * torch.log10(255**2 / (one - other).square().mean())))


def ssim(one: Tensor, other: Tensor) -> float:
    """Structural similarity of two planes (N, 1, H, W) in [0, 255] (Wang et al. 2004): 11×11 Gaussian window, σ 1.5."""
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


def score_image(enlarge: Enlarge, sharp: Tensor, scale: int) -> dict[str, float]:
    """`psnr` (dB), `ssim` and `grid` (dB, see `grid_level`) of one image (1, 3, H, W) in [0, 1] after a round trip.

    The sides must be multiples of the scale. The grid's period is twice the scale, at most 16, so that patterns at half
    the scale's frequency are found too; there is no `grid` for a smaller image or another period.
    """
    images = (reduce_and_enlarge(enlarge, sharp, scale), sharp)
    planes = [luma(image)[..., scale:-scale, scale:-scale] for image in images]
    return {"psnr": psnr(*planes), "ssim": ssim(*planes)} | _grid(planes[0][0, 0], min(2 * scale, PERIODS[-1]))


def _grid(plane: Tensor, period: int) -> dict[str, float]:
    if period not in PERIODS or min(plane.shape) < WINDOW:
        return {}
    return {"grid": grid_level(plane, period)}


def reduce_and_enlarge(enlarge: Enlarge, sharp: Tensor, scale: int) -> Tensor:
    """An image (1, 3, H, W) reduced by `scale` and enlarged again, rounded to 8 bits, in [0, 1]."""
    with torch.inference_mode():
        enlarged = enlarge(low_resolution(sharp, scale))
    return (enlarged.clamp(0, 1) * 255).round() / 255


def sharp_image(path: Path, scale: int) -> Tensor:
    """An image file as RGB (1, 3, H, W) in [0, 1], cropped at the right and bottom to a multiple of the scale."""
    pixels = torch.from_numpy(read_rgb(path).copy()).permute(2, 0, 1)[None].float() / 255
    height, width = (side - side % scale for side in pixels.shape[-2:])
    return pixels[..., :height, :width]


def format_scores(scores: Mapping[str, float]) -> str:
    """Scores as `evaluate` returns them, on one line."""
    grid = f"  grid {scores['grid']:+.1f} dB" if "grid" in scores else ""
    return f"{scores['psnr']:6.2f} dB  SSIM {scores['ssim']:.4f}{grid}"
