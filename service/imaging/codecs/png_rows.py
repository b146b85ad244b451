"""Finds PNGs whose compressed pixels end before the last row, which Pillow leaves black without an error."""

import zlib
from collections.abc import Iterator

from PIL import Image

from service.errors import CorruptImage
from service.imaging.codecs import png

CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
"""By colour type (PNG, section 11.2.1)."""

PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
"""Of an interlaced image: the first column and row, and the steps to the next ones (PNG, section 8.2)."""

PIECE = 2**16
"""Compressed bytes that are inflated at once; they become 64 MiB at the most."""


def require_all_rows(image: Image.Image, data: bytes) -> None:
    """Check that `data`, the PNG that was loaded as `image`, has all its rows. Raises CorruptImage.

    A last row that is not black says so at once; otherwise the pixels are inflated once more and counted.
    """
    last_row = (0, image.height - 1, image.width, image.height)
    interlaced = "interlace" in image.info
    if not interlaced and image.crop(last_row).getbbox(alpha_only=False):
        return
    if not _inflates_to(data, _count_bytes(image.width, image.height, data, interlaced=interlaced)):
        raise CorruptImage("the pixels of the png image end before its last row; send a complete file")


def _count_bytes(width: int, height: int, data: bytes, *, interlaced: bool) -> int:
    """The bytes of all rows, each with its filter type."""
    bits = CHANNELS[data[png.COLOUR_TYPE_OFFSET]] * png.read_bit_depth(data)
    passes = PASSES if interlaced else ((0, 0, 1, 1),)
    sizes = [(-((left - width) // across), -((top - height) // down)) for left, top, across, down in passes]
    return sum(rows * (1 + (columns * bits + 7) // 8) for columns, rows in sizes if columns > 0)


def _inflates_to(data: bytes, size: int) -> bool:
    """Whether the pixels have so many bytes. Of broken ones the decoder has told."""
    inflater, count = zlib.decompressobj(), 0
    try:
        for piece in _read_pieces(data):
            count += len(inflater.decompress(piece))
            if count >= size:
                return True
    except zlib.error:
        return True
    return False


def _read_pieces(data: bytes) -> Iterator[memoryview]:
    view = memoryview(data)
    for kind, begin, end in png.find_chunks(data):
        if kind == b"IDAT":
            body = view[begin + png.HEAD.size : end - 4]
            yield from (body[at : at + PIECE] for at in range(0, len(body), PIECE))
