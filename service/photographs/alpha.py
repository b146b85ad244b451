"""Transparency: its own channel, its own filter, and no colour that nobody can see.

The colour of a wholly transparent pixel says nothing (many programs leave black there), yet a network looks at it next
to the edge of what is visible. There it is replaced by the colours around it, so that no dark fringe comes of it.
"""

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.Image import Resampling

from service.photographs.pixels import Pixels, bands

BLOCK = 4
"""Pixels on a side whose visible ones give their mean colour to those that are not; where none is, blocks of blocks."""

Colours = NDArray[np.float32]


def resized(alpha: Pixels, height: int, width: int) -> Pixels:
    """(H, W) at another size, bicubically; as it is where that is its own."""
    if alpha.shape == (height, width):
        return alpha
    if alpha.dtype == np.uint8:
        result: Pixels = np.asarray(Image.fromarray(alpha).resize((width, height), Resampling.BICUBIC))
        return result
    image = Image.fromarray(alpha.astype(np.float32)).resize((width, height), Resampling.BICUBIC)
    deep: Pixels = np.rint(np.asarray(image)).clip(0, 65_535).astype(np.uint16)
    return deep


def filled(pixels: Pixels, alpha: Pixels) -> Pixels:
    """(H, W, 3) whose wholly transparent pixels have the colours of what is nearest; all others as they are."""
    if alpha.all() or not alpha.any():
        return pixels
    around = _spread(*_blocks(pixels, alpha > 0))
    result = pixels.copy()
    for rows in bands(alpha.shape, BLOCK):
        result[rows] = _where_clear(pixels[rows], alpha[rows] > 0, around[rows.start // BLOCK : -(-rows.stop // BLOCK)])
    return result


def _where_clear(pixels: Pixels, visible: NDArray[np.bool], around: Colours) -> Pixels:
    colours = np.rint(_enlarged(around, *visible.shape)).astype(pixels.dtype)
    return np.where(visible[..., None], pixels, colours)


def _blocks(colours: Pixels | Colours, known: NDArray[np.bool]) -> tuple[Colours, NDArray[np.bool]]:
    """The mean of what is known of each block, and whether anything is."""
    means, counts = [], []
    for rows in bands(known.shape, BLOCK):
        weights = known[rows].astype(np.float32)
        count = _sums(weights[..., None])
        means.append(_sums(colours[rows] * weights[..., None]) / np.maximum(count, 1))
        counts.append(count[..., 0] > 0)
    return np.concatenate(means), np.concatenate(counts)


def _sums(values: Colours) -> Colours:
    """Of each block of (H, W, C), those at the end filled up with zeros."""
    height, width, channels = values.shape
    padded = np.pad(values, ((0, -height % BLOCK), (0, -width % BLOCK), (0, 0)))
    result: Colours = padded.reshape(len(padded) // BLOCK, BLOCK, -1, BLOCK, channels).sum((1, 3))
    return result


def _spread(colours: Colours, known: NDArray[np.bool]) -> Colours:
    """What is known, and elsewhere the mean of the smallest block of blocks in which something is."""
    if known.all():
        return colours
    around = _enlarged(_spread(*_blocks(colours, known)), *known.shape)
    return np.where(known[..., None], colours, around)


def _enlarged(blocks: Colours, height: int, width: int) -> Colours:
    return blocks.repeat(BLOCK, axis=0)[:height].repeat(BLOCK, axis=1)[:, :width]
