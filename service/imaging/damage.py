"""What is wrong with a photograph: whether it was compressed hard, shows the blocks of JPEG, or is noisy.

A network that is trained on clean images makes hard lines of blocks and of noise. The rule is `assess`; its limits were
set on photographs of which half were damaged (docs/upscaling.md has the counts).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cache

import numpy as np
from numpy.typing import NDArray

from service.imaging.pixels import Pixels, to_luma

Channel = NDArray[np.float32]
"""(H, W), in levels of 256."""

LEAST_QUALITY = 80
"""A JPEG of this quality or less is damaged; other encoders' tables are compared with libjpeg's."""

MOST_BLOCKINESS = 1.18
MOST_COLOUR_NOISE, MOST_NOISE = 2.7, 4.5
"""Levels of 256. Fine texture of photographs is nearly grey, so that noise is told from it in the colours first."""

BLOCK = 8
"""Side of JPEG's blocks, and of those in which noise is estimated."""

SAMPLES, SAMPLE_SIDE = 4, 256
"""Squares along each side of a large image that are looked at, and their side in pixels."""

STANDARD_LUMA = np.array(
    [
        [16, 11, 10, 16, 24, 40, 51, 61],
        [12, 12, 14, 19, 26, 58, 60, 55],
        [14, 13, 16, 24, 40, 57, 69, 56],
        [14, 17, 22, 29, 51, 87, 80, 62],
        [18, 22, 37, 56, 68, 109, 103, 77],
        [24, 35, 55, 64, 81, 104, 113, 92],
        [49, 64, 78, 87, 103, 121, 120, 101],
        [72, 92, 95, 98, 112, 100, 103, 99],
    ]
)
"""The luma table at quality 50 (ITU-T T.81, table K.1)."""

BASE_STEP, LARGEST_STEP = 1.0, 3.0
"""What is added to the steps beside a line, in levels; and the most that a single step counts, compared with them."""

FLAT = 0.25
"""Levels below which a block holds no noise that could be estimated: a clipped or drawn one."""

QUIET_COLOURS, QUIET_LUMA = 0.05, 0.02
"""The share of the blocks with less noise than the estimate: in the smoothest ones there is nothing else."""


class Fault(StrEnum):
    """What makes an image a damaged one."""

    NONE = "clean"
    COMPRESSED = "compressed"
    BLOCKS = "blocks"
    NOISE = "noise"


@dataclass(frozen=True)
class Damage:
    """A verdict, and the figure that it rests on: JPEG quality, blockiness, or noise in levels."""

    fault: Fault = Fault.NONE
    figure: float = 0.0

    def __bool__(self) -> bool:
        """Whether anything was found."""
        return self.fault is not Fault.NONE

    def __str__(self) -> str:
        """For people: `clean`, `compressed (JPEG quality 57)`."""
        match self.fault:
            case Fault.NONE:
                return "clean"
            case Fault.COMPRESSED:
                return f"compressed (JPEG quality {self.figure:.0f})"
            case Fault.BLOCKS:
                return f"blocks (contrast {self.figure:.2f})"
            case Fault.NOISE:
                return f"noise ({self.figure:.1f} levels)"


def assess(pixels: Pixels) -> Damage:
    """The verdict on the pixels of an image, uint8 (H, W, 3)."""
    samples = _samples(pixels)
    contrast = blockiness([_luma(sample) for sample in samples])
    if contrast > MOST_BLOCKINESS:
        return Damage(Fault.BLOCKS, contrast)
    colours, luma = noise(samples)
    noisy = colours > MOST_COLOUR_NOISE or luma > MOST_NOISE
    return Damage(Fault.NOISE, max(colours, luma)) if noisy else Damage()


def assess_tables(tables: Mapping[int, Sequence[int]]) -> Damage:
    """The verdict on the quantisation tables of a JPEG."""
    quality = jpeg_quality(tables)
    return Damage(Fault.COMPRESSED, quality) if quality <= LEAST_QUALITY else Damage()


def jpeg_quality(tables: Mapping[int, Sequence[int]]) -> int:
    """The quality, 1 to 100, at which the sum of libjpeg's luma table is nearest to that of a file's first one."""
    total = sum(tables[min(tables)])
    sums = _luma_sums()
    return min(sums, key=lambda quality: abs(sums[quality] - total))


@cache
def _luma_sums() -> Mapping[int, int]:
    return {quality: _luma_sum(quality) for quality in range(1, 101)}


def _luma_sum(quality: int) -> int:
    """The sum of libjpeg's luma table, whose entries are from 1 to 255 (jpeg_quality_scaling in jcparam.c)."""
    percent = 5000 // quality if quality < 50 else 200 - 2 * quality
    return int(((STANDARD_LUMA * percent + 50) // 100).clip(1, 255).sum())


def blockiness(samples: Sequence[Channel]) -> float:
    """How much larger steps across the borders of blocks are than other steps; 1 without blocks.

    Of the two directions it is the lesser: windows and fences have a period in one of them. The blocks may begin
    anywhere, as in a part of a JPEG that was saved as a PNG.
    """
    large = [sample for sample in samples if min(sample.shape) >= 4 * BLOCK]
    return min(_contrast(large), _contrast([sample.T for sample in large])) if large else 1.0


def noise(samples: Sequence[Pixels]) -> tuple[float, float]:
    """Standard deviations of the noise, in levels: of the difference of two colours, and of the luma."""
    values = [sample.astype(np.float32) for sample in samples]
    colours = [_quiet([sample[..., at] - sample[..., 1] for sample in values], QUIET_COLOURS) for at in (0, 2)]
    return sum(colours) / 2, _quiet([_luma(sample) for sample in samples], QUIET_LUMA)


def _samples(pixels: Pixels) -> list[Pixels]:
    """Squares that cover a small image, and are spread evenly over a large one."""
    tops, lefts = (_positions(length) for length in pixels.shape[:2])
    return [pixels[top : top + SAMPLE_SIDE, left : left + SAMPLE_SIDE] for top in tops for left in lefts]


def _positions(length: int) -> list[int]:
    """Where the squares begin along a side: at multiples of a block, so that blocks begin alike in all of them."""
    if length <= SAMPLES * SAMPLE_SIDE:
        return list(range(0, length, SAMPLE_SIDE))
    return [int(at) // BLOCK * BLOCK for at in np.linspace(0, length - SAMPLE_SIDE, SAMPLES)]


def _luma(pixels: Pixels) -> Channel:
    return to_luma(pixels).astype(np.float32)


def _contrast(planes: Sequence[Channel]) -> float:
    """The mean relative step of the columns of one phase, of eight, over the median phase's; of the largest phase."""
    means = np.mean([_phase_means(_relative_steps(plane)) for plane in planes], axis=0)
    return float(means.max() / max(np.median(means), 1e-3))


def _relative_steps(plane: Channel) -> Channel:
    """The step from each column to the next one, compared with the two steps before it and after it."""
    steps = np.abs(np.diff(plane, axis=1))
    beside = steps[:, :-4] + steps[:, 1:-3] + steps[:, 3:-1] + steps[:, 4:]
    relative: Channel = np.minimum(steps[:, 2:-2] / (beside / 4 + BASE_STEP), LARGEST_STEP)
    return relative


def _phase_means(columns: Channel) -> NDArray[np.float64]:
    return np.array([columns[:, phase::BLOCK].mean(dtype=np.float64) for phase in range(BLOCK)])


def _quiet(planes: Sequence[Channel], share: float) -> float:
    """The noise below which `share` of the noisy blocks are; 0 where no block is noisy."""
    deviations = np.concatenate([_block_noise(plane) for plane in planes])
    noisy = deviations[deviations > FLAT]
    return float(np.quantile(noisy, share)) if len(noisy) else 0.0


def _block_noise(plane: Channel) -> NDArray[np.float64]:
    """The standard deviation, (N,), of the noise that would explain each block.

    By a difference of Laplacians, which cancels planes and straight edges along the axes (Immerkær, *Fast noise
    variance estimation*, 1996); its deviation is six times the noise's.
    """
    along = np.diff(plane, 2, axis=0)
    laplacian = np.diff(along, 2, axis=1)
    height, width = (side // BLOCK for side in laplacian.shape)
    blocks = laplacian[: height * BLOCK, : width * BLOCK].reshape(height, BLOCK, width, BLOCK)
    deviations: NDArray[np.float64] = np.sqrt(np.square(blocks, dtype=np.float64).mean(axis=(1, 3))).ravel() / 6
    return deviations
