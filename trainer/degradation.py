"""What happens to a photograph between a camera and a thumbnail: blur, reduction, noise and JPEG, twice.

The order within each of the two rounds is random, as in Real-ESRGAN (Wang et al. 2021, §3); the strengths are those of
files that people send, and so milder. Everything is drawn from the generator that is given, so that equal generators
give equal results.
"""

import io
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch.nn import functional as F

from trainer.data import Pixels

RESAMPLING = (
    Image.Resampling.BOX,
    Image.Resampling.BILINEAR,
    Image.Resampling.HAMMING,
    Image.Resampling.BICUBIC,
    Image.Resampling.LANCZOS,
)

SUBSAMPLING = ("4:4:4", "4:2:0")
"""Of a JPEG's colours."""

Size = tuple[int, int]
"""Width and height in pixels."""

Step = Callable[[Pixels, np.random.Generator], Pixels]


@dataclass(frozen=True)
class Round:
    """How strong one round is. Each step but the reduction happens with its chance."""

    blur_chance: float
    blur: tuple[float, float]
    """Bounds of a Gaussian's σ in pixels; an anisotropic one has another σ along each of its axes."""
    noise_chance: float
    gaussian: tuple[float, float]
    """Bounds of σ, in levels of 256."""
    photons: tuple[float, float]
    """Bounds of the mean count at white, for Poisson noise: 400 are 9 levels in middle grey."""
    jpeg_chance: float
    quality: tuple[int, int]


CAMERA = Round(0.7, (0.2, 2.0), 0.5, (1.0, 10.0), (300.0, 6000.0), 0.5, (30, 95))
"""The photograph as it is taken and saved, at its own size or on the way to the thumbnail's."""

THUMBNAIL = Round(0.5, (0.2, 1.0), 0.6, (1.0, 8.0), (400.0, 6000.0), 0.85, (30, 95))
"""What is made of it afterwards, most of it at the thumbnail's size."""


def degrade(sharp: Pixels, scale: int, rng: np.random.Generator) -> Pixels:
    """A damaged photograph, (H // scale, W // scale, 3), of a sharp one, (H, W, 3)."""
    height, width = (side // scale for side in sharp.shape[:2])
    between = scale ** rng.random()
    first = _apply(sharp, (round(width * between), round(height * between)), CAMERA, rng)
    return _apply(first, (width, height), THUMBNAIL, rng)


def blurred(pixels: Pixels, kernel: NDArray[np.float32]) -> Pixels:
    """Convolved with a kernel of odd sides, whose sum is 1; reflected at the borders, several times where it is larger
    than the image."""
    margin = kernel.shape[0] // 2
    padded = np.pad(pixels, [(margin, margin), (margin, margin), (0, 0)], mode="reflect")
    planes = torch.from_numpy(padded.astype(np.float32)).permute(2, 0, 1)[:, None].contiguous()
    smooth = F.conv2d(planes, torch.from_numpy(kernel)[None, None])
    return _to_levels(smooth[:, 0].permute(1, 2, 0).numpy())


def gaussian_kernel(sigma_x: float, sigma_y: float, angle: float) -> NDArray[np.float32]:
    """A Gaussian with two σ in pixels, turned by an angle in radians; its sum is 1."""
    reach = math.ceil(3 * max(sigma_x, sigma_y))
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    along = (x * math.cos(angle) + y * math.sin(angle)) / sigma_x
    across = (y * math.cos(angle) - x * math.sin(angle)) / sigma_y
    kernel = np.exp(-(along**2 + across**2) / 2)
    normalised: NDArray[np.float32] = (kernel / kernel.sum()).astype(np.float32)
    return normalised


def resized(pixels: Pixels, size: Size, resampling: Image.Resampling) -> Pixels:
    """With a filter as wide as the reduction asks for (antialiased)."""
    return np.asarray(Image.fromarray(pixels).resize(size, resampling))


def with_gaussian_noise(pixels: Pixels, sigma: float, rng: np.random.Generator, *, grey: bool) -> Pixels:
    """Noise of `sigma` levels; `grey`: the same in all channels."""
    shape = (*pixels.shape[:2], 1) if grey else pixels.shape
    return _to_levels(pixels + rng.normal(0, sigma, shape))


def with_photon_noise(pixels: Pixels, photons: float, rng: np.random.Generator) -> Pixels:
    """Poisson noise of a sensor that counts `photons` where a channel is white."""
    counts = rng.poisson(pixels.astype(np.float64) * (photons / 255))
    return _to_levels(counts * (255 / photons))


def through_jpeg(pixels: Pixels, quality: int, subsampling: str) -> Pixels:
    """Saved as a JPEG and read again."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=quality, subsampling=subsampling)
    return np.asarray(Image.open(file))


def _apply(pixels: Pixels, size: Size, strength: Round, rng: np.random.Generator) -> Pixels:
    """One round, its steps in random order, after which the image has that size."""

    def reduce(image: Pixels, rng: np.random.Generator) -> Pixels:
        return resized(image, size, RESAMPLING[rng.integers(len(RESAMPLING))])

    steps: list[Step] = [reduce]
    steps += [_blur(strength)] if rng.random() < strength.blur_chance else []
    steps += [_noise(strength)] if rng.random() < strength.noise_chance else []
    steps += [_jpeg(strength)] if rng.random() < strength.jpeg_chance else []
    for index in rng.permutation(len(steps)):
        pixels = steps[index](pixels, rng)
    return pixels


def _blur(strength: Round) -> Step:
    def step(pixels: Pixels, rng: np.random.Generator) -> Pixels:
        sigma_x, sigma_y = rng.uniform(*strength.blur, 2)
        isotropic = rng.random() < 0.5
        return blurred(pixels, gaussian_kernel(sigma_x, sigma_x if isotropic else sigma_y, rng.uniform(0, math.pi)))

    return step


def _noise(strength: Round) -> Step:
    def step(pixels: Pixels, rng: np.random.Generator) -> Pixels:
        if rng.random() < 0.5:
            return with_photon_noise(pixels, math.exp(rng.uniform(*np.log(strength.photons))), rng)
        return with_gaussian_noise(pixels, rng.uniform(*strength.gaussian), rng, grey=rng.random() < 0.4)

    return step


def _jpeg(strength: Round) -> Step:
    def step(pixels: Pixels, rng: np.random.Generator) -> Pixels:
        low, high = strength.quality
        return through_jpeg(pixels, int(rng.integers(low, high + 1)), SUBSAMPLING[rng.integers(2)])

    return step


def _to_levels(values: NDArray[np.floating]) -> Pixels:
    levels: Pixels = np.rint(values).clip(0, 255).astype(np.uint8)
    return levels
