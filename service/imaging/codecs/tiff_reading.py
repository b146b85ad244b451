"""Reads the first page of a TIFF, or of a BigTIFF: its strips or tiles joined, and their values made colours."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from tifffile import COMPRESSION, PHOTOMETRIC

from service.imaging.codecs import jpeg_segments
from service.imaging.codecs.tiff_directory import corrupt
from service.imaging.codecs.tiff_embedded import decode_frame, join_tables
from service.imaging.codecs.tiff_layout import Tag, TiffLayout, read_layout, unsupported
from service.imaging.codecs.tiff_segments import decode_segments
from service.imaging.pixels import Pixels, row_bands

BT601_WEIGHTS = (0.299, 0.587, 0.114)
FULL_RANGE = (0.0, 255.0, 128.0, 255.0, 128.0, 255.0)
"""Defaults of YCbCrCoefficients and ReferenceBlackWhite, as libtiff has them."""

SIGN_BIT = {np.dtype(np.uint8): 0x80, np.dtype(np.uint16): 0x8000}


class TiffPixels(NamedTuple):
    """The decoded values: each over the whole range of its type, uint8 or uint16."""

    colours: Pixels
    """Grey (H, W), RGB (H, W, 3), CMYK (H, W, 4) with full ink at the most, or Lab (H, W, 3): L from 0 to the most, and
    a and b with 0 in the middle (at 128, or 128 × 257)."""
    alpha: Pixels | None
    """(H, W), straight."""
    model: PHOTOMETRIC
    """MINISBLACK, RGB, SEPARATED (CMYK) or ICCLAB."""


def read_tiff(data: bytes) -> TiffPixels:
    """Decode the first page, as it is stored, before its orientation is applied.

    Extra samples but the first one that is alpha are dropped: masks and spot colours. Raises what `read_layout` does,
    CorruptImage for pixels that are not what the header says, and whatever the decoders do.
    """
    layout = read_layout(data)
    samples = _read_old_jpeg(layout) if layout.compression == COMPRESSION.OJPEG else _join_segments(layout)
    alpha = None if layout.alpha is None else _scale(samples[..., -1], layout.bits)
    colours, model = _make_colours(samples[..., : layout.colours], layout)
    if alpha is not None and layout.is_premultiplied:
        colours = _unpremultiply(colours, alpha.astype(colours.dtype, copy=False))
    return TiffPixels(colours[..., 0] if colours.shape[2] == 1 else colours, alpha, model)


def _join_segments(layout: TiffLayout) -> Pixels:
    """The samples of all pixels (H, W, N), as they are stored: colours, and alpha."""
    kept = [*range(layout.colours), *([] if layout.alpha is None else [layout.alpha])]
    keeps_all = kept == list(range(layout.samples))
    samples: Pixels = np.empty((layout.height, layout.width, len(kept)), np.uint16 if layout.bits > 8 else np.uint8)
    for segment, pixels in decode_segments(layout, layout.segments(frozenset(kept))):
        place = samples[segment.top : segment.top + segment.rows, segment.left : segment.left + layout.segment_width]
        shown = pixels[: place.shape[0], : place.shape[1]]
        if layout.is_planar:
            place[..., kept.index(segment.plane)] = shown[..., 0]
        else:
            place[...] = shown if keeps_all else shown[..., kept]  # an index of a list is slow
    return samples


def _read_old_jpeg(layout: TiffLayout) -> Pixels:
    """Old-style JPEG (TIFF 6.0, section 22) that is one whole file; RGB, where its colours are YCbCr."""
    tags = layout.directory
    begin = tags.integer(Tag.JPEG_OFFSET, 0)
    size = tags.integer(Tag.JPEG_LENGTH, len(tags.data))
    if not begin or layout.is_planar:
        raise unsupported("with old-style JPEG in pieces")
    jpeg = join_tables(tags.data[begin : begin + size], None, is_ycbcr=layout.is_decoded_to_rgb)
    frame = jpeg_segments.read_frame(jpeg)
    declared = (layout.height, layout.width, layout.samples, layout.bits)
    if (frame.height, frame.width, frame.components, frame.precision) != declared:
        raise corrupt("it holds a JPEG of another size")
    pixels = decode_frame(jpeg, frame)
    return pixels.reshape(layout.height, layout.width, -1)


def _make_colours(stored: Pixels, layout: TiffLayout) -> tuple[Pixels, PHOTOMETRIC]:
    """Colours (H, W, C) from samples, and what they are."""
    match layout.photometric:
        case PHOTOMETRIC.PALETTE:
            return _look_up(stored[..., 0], layout), PHOTOMETRIC.RGB
        case PHOTOMETRIC.CIELAB | PHOTOMETRIC.ICCLAB:
            return _scale_lab(stored, layout), PHOTOMETRIC.ICCLAB
        case PHOTOMETRIC.YCBCR:
            is_rgb = layout.is_decoded_to_rgb
            return _scale(stored, layout.bits) if is_rgb else _convert_ycbcr(stored, layout), PHOTOMETRIC.RGB
    scaled = _scale(stored, layout.bits)
    grey_or_colours = PHOTOMETRIC.MINISBLACK if layout.is_grey else layout.photometric
    return (~scaled if layout.photometric == PHOTOMETRIC.MINISWHITE else scaled), grey_or_colours


def _scale(values: Pixels, bits: int) -> Pixels:
    """Scale values of that many bits to all those of their type."""
    full, most = np.iinfo(values.dtype).max, 2**bits - 1
    if most == full:
        return values
    table = (np.arange(full + 1, dtype=np.uint64).clip(max=most) * (2 * full) + most) // (2 * most)
    result: Pixels = table.astype(values.dtype)[values]
    return result


def _scale_lab(stored: Pixels, layout: TiffLayout) -> Pixels:
    """Lab with 0 in the middle of a and b. Of 16 bits it is stretched to the encoding of ICC version 4.

    There 100, and 127 after the point, are 0xFFFF; here they are 0xFF00, but for L in CIELab (ICC.1:2022, section
    6.3.4; Adobe's TIFF supplement 2).
    """
    is_signed = layout.photometric == PHOTOMETRIC.CIELAB
    values = stored.copy()
    if is_signed:
        values[..., 1:] ^= SIGN_BIT[values.dtype]
    if layout.bits == 16:
        stretched = values[..., 1 if is_signed else 0 :]
        for rows in row_bands(len(values), values[0].size):
            stretched[rows] = np.minimum(stretched[rows].astype(np.uint32) * 257 // 256, 0xFFFF)
    return values


def _look_up(indices: Pixels, layout: TiffLayout) -> NDArray[np.uint8]:
    """Colours by a palette, whose values have 16 bits; where all are below 256, 8 bits."""
    values = np.array(layout.directory.integers(Tag.COLOUR_MAP), np.uint64)
    if len(values) != 3 * 2**layout.bits or values.max() > 0xFFFF:
        raise corrupt(f"its palette has {len(values)} values instead of {3 * 2**layout.bits}")
    palette = (values if values.max() < 256 else values // 256).reshape(3, -1).T.astype(np.uint8)
    return palette[indices]


def _convert_ycbcr(stored: Pixels, layout: TiffLayout) -> NDArray[np.uint8]:
    """RGB from YCbCr (section 21), with the range of its values (section 20)."""
    red, green, blue = layout.directory.rationals(Tag.YCBCR_COEFFICIENTS) or BT601_WEIGHTS
    limits = np.array(layout.directory.rationals(Tag.REFERENCE_BLACK_WHITE) or FULL_RANGE, np.float32).reshape(3, 2)
    scales = np.array([255, 127, 127], np.float32) / (limits[:, 1] - limits[:, 0])
    if green <= 0 or not np.isfinite(scales).all():
        raise corrupt("its YCbCr makes no colours")
    result = np.empty(stored.shape, np.uint8)
    for rows in row_bands(len(stored), stored[0].size):
        luma, cb, cr = np.moveaxis((stored[rows] - limits[:, 0]) * scales, -1, 0)
        first, last = luma + cr * (2 - 2 * red), luma + cb * (2 - 2 * blue)
        middle = (luma - red * first - blue * last) / green
        result[rows] = np.rint(np.stack([first, middle, last], axis=-1)).clip(0, 255)
    return result


def _unpremultiply(colours: Pixels, alpha: Pixels) -> Pixels:
    """Divide colours (H, W, C) by alpha (TIFF 6.0, section 18)."""
    full, result = np.iinfo(colours.dtype).max, np.empty_like(colours)
    for rows in row_bands(len(colours), colours[0].size):
        divisor = np.maximum(alpha[rows], 1).astype(np.float32)[..., None]
        result[rows] = np.rint(colours[rows] * (full / divisor)).clip(0, full)
    return result
