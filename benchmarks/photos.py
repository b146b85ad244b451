"""Synthetic photos with the statistics of real ones, identical on all machines with the same version of Pillow.

They are *dead leaves* images (Matheron 1968; Lee, Mumford and Huang 2001): disks of one colour each and of all sizes
that overlap, which gives edges, smooth areas and a 1/f amplitude spectrum. Added 1/f noise gives texture.
"""

import io
import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

Pixels = NDArray[np.uint8]

QUALITY = 85
"""JPEG quality, at which a 512×512 photo has about 100 KB."""

TEXTURE = 9.0
"""Standard deviation of the noise, in grey levels."""

SMALLEST, LARGEST, MIXED_COUNT = 256, 1536, 24
TILE = 1024

_SHAPES = ((1, 1), (4, 3), (3, 4), (3, 2), (2, 3), (16, 9))


def photo(width: int, height: int, seed: int = 0) -> Pixels:
    """A photo-like image, uint8 (height, width, 3); the same for the same arguments."""
    random = np.random.default_rng(seed)
    leaves = _dead_leaves(width, height, random)
    texture = TEXTURE * _pink_noise(width, height, random)
    result: Pixels = (leaves + texture[..., None]).clip(0, 255).astype(np.uint8)
    return result


def large(width: int, height: int, seed: int = 0) -> Pixels:
    """An image of many megapixels, uint8 (height, width, 3): a photo and its mirror images, tiled without seams."""
    tile = photo(TILE, TILE, seed)
    cell = np.concatenate([tile, tile[:, ::-1]], axis=1)
    cell = np.concatenate([cell, cell[::-1]], axis=0)
    times = (math.ceil(height / len(cell)), math.ceil(width / len(cell)), 1)
    result: Pixels = np.tile(cell, times)[:height, :width]
    return result


def jpeg(pixels: Pixels) -> bytes:
    """The image as a JPEG file."""
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", quality=QUALITY)
    return stream.getvalue()


def uniform(side: int = 512, count: int = 4) -> list[bytes]:
    """`count` different square photos as JPEG files."""
    return [jpeg(photo(side, side, seed)) for seed in range(count)]


def mixed(count: int = MIXED_COUNT, smallest: int = SMALLEST, largest: int = LARGEST) -> list[bytes]:
    """Photos of the sizes of `mixed_sides`, as JPEG files."""
    return [jpeg(photo(*sides, seed)) for seed, sides in enumerate(mixed_sides(count, smallest, largest))]


def mixed_sides(count: int = MIXED_COUNT, smallest: int = SMALLEST, largest: int = LARGEST) -> list[tuple[int, int]]:
    """The (width, height) of `count` photos, in a fixed random order, no side under `smallest`.

    The longer sides are evenly spaced on a logarithmic scale from `smallest` to `largest`. The aspect ratios are those
    of cameras.
    """
    ratio = largest / smallest
    longer = [round(smallest * ratio ** (i / max(1, count - 1))) for i in range(count)]
    order = np.random.default_rng(0).permutation(count)
    return [_sides(longer[i], *_SHAPES[i % len(_SHAPES)], smallest) for i in order]


def _sides(longer: int, across: int, down: int, smallest: int) -> tuple[int, int]:
    unit = longer / max(across, down)
    return max(smallest, round(across * unit)), max(smallest, round(down * unit))


def _dead_leaves(width: int, height: int, random: np.random.Generator) -> NDArray[np.float32]:
    """Overlapping disks, float32 (height, width, 3). Radii have density 1/r³, from 1/200 to 1/3 of the longer side."""
    image = Image.new("RGB", (width, height), (128, 128, 128))
    draw = ImageDraw.Draw(image)
    longer = max(width, height)
    radii = 1 / np.sqrt(random.uniform((3 / longer) ** 2, (200 / longer) ** 2, 4000))
    centres = random.uniform((0, 0), (width, height), (len(radii), 2))
    colours = random.normal(128, 45, (len(radii), 1)) + random.normal(0, 22, (len(radii), 3))
    for (x, y), radius, colour in zip(centres, radii, colours.clip(0, 255).astype(int), strict=True):
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=tuple(colour.tolist()))
    return np.asarray(image, np.float32)


def _pink_noise(width: int, height: int, random: np.random.Generator) -> NDArray[np.float32]:
    """Noise with a 1/f amplitude spectrum and unit variance, float32 (height, width)."""
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None])
    frequency[0, 0] = np.inf
    noise = np.fft.irfft2(np.fft.rfft2(random.standard_normal((height, width))) / frequency, (height, width))
    result: NDArray[np.float32] = (noise / noise.std()).astype(np.float32)
    return result
