"""The alpha channel: its resizing, and the colours of transparent pixels.

The colour of a fully transparent pixel is arbitrary, often black, but a network sees it next to visible pixels, and a
dark fringe would result. It is replaced by the colours around it.
"""

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.Image import Resampling

from service.imaging.pixels import BAND_VALUES, Pixels, row_bands

FILL_BLOCK = 4
"""Side, in pixels, of the blocks whose visible pixels give their mean colour to the transparent ones. A block without
visible pixels takes the mean of the block of 4×4 blocks that it is in, and so on."""

Colours = NDArray[np.float32]
"""(H, W, 3), in the units of the pixels."""


def resize_alpha(alpha: Pixels, height: int, width: int) -> Pixels:
    """Resize (H, W) bicubically in its own depth; alpha that has that size is returned as it is."""
    if alpha.shape == (height, width):
        return alpha
    if alpha.dtype == np.uint8:
        result: Pixels = np.asarray(Image.fromarray(alpha).resize((width, height), Resampling.BICUBIC))
        return result
    image = Image.fromarray(alpha.astype(np.float32)).resize((width, height), Resampling.BICUBIC)
    rounded: Pixels = np.rint(np.asarray(image)).clip(0, 65_535).astype(np.uint16)
    return rounded


def fill_transparent(pixels: Pixels, alpha: Pixels, *, band_values: int = BAND_VALUES) -> Pixels:
    """Replace the colours of fully transparent pixels of (H, W, 3) by those of visible pixels nearby.

    Where all or none of the pixels are visible, `pixels` is returned as it is. `band_values` is that of `row_bands`.
    """
    if alpha.all() or not alpha.any():
        return pixels
    surroundings = _spread(*_block_means(pixels, alpha > 0, band_values), band_values)
    result = pixels.copy()
    for rows in row_bands(len(pixels), pixels[0].size, FILL_BLOCK, band_values):
        blocks = surroundings[rows.start // FILL_BLOCK : -(-rows.stop // FILL_BLOCK)]
        result[rows] = _fill_rows(pixels[rows], alpha[rows] > 0, blocks)
    return result


def _fill_rows(pixels: Pixels, visible: NDArray[np.bool], blocks: Colours) -> Pixels:
    colours = np.rint(_expand(blocks, *visible.shape)).astype(pixels.dtype)
    return np.where(visible[..., None], pixels, colours)


def _spread(colours: Colours, known: NDArray[np.bool], band_values: int) -> Colours:
    """Give every unknown colour the mean of the smallest enclosing block that has a known one."""
    if known.all():
        return colours
    surroundings = _spread(*_block_means(colours, known, band_values), band_values)
    return np.where(known[..., None], colours, _expand(surroundings, *known.shape))


def _block_means(
    colours: Pixels | Colours, known: NDArray[np.bool], band_values: int
) -> tuple[Colours, NDArray[np.bool]]:
    """The mean of the known colours of every block, and whether it has any."""
    means, counts = [], []
    for rows in row_bands(len(colours), colours[0].size, FILL_BLOCK, band_values):
        weights = known[rows].astype(np.float32)
        count = _block_sums(weights[..., None])
        means.append(_block_sums(colours[rows] * weights[..., None]) / np.maximum(count, 1))
        counts.append(count[..., 0] > 0)
    return np.concatenate(means), np.concatenate(counts)


def _block_sums(values: Colours) -> Colours:
    """The sum over every block of (H, W, C); blocks at the right and bottom edge are padded with zeros."""
    height, width, channels = values.shape
    padded = np.pad(values, ((0, -height % FILL_BLOCK), (0, -width % FILL_BLOCK), (0, 0)))
    result: Colours = padded.reshape(len(padded) // FILL_BLOCK, FILL_BLOCK, -1, FILL_BLOCK, channels).sum((1, 3))
    return result


def _expand(blocks: Colours, height: int, width: int) -> Colours:
    """Repeat the colour of every block over its pixels."""
    return blocks.repeat(FILL_BLOCK, axis=0)[:height].repeat(FILL_BLOCK, axis=1)[:, :width]
