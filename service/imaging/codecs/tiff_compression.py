"""Compressions of bytes in a TIFF, each with a bound on what it gives."""

import io
import lzma
import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from PIL.TiffImagePlugin import ImageFileDirectory_v2, TiffImageFile
from tifffile import COMPRESSION, PHOTOMETRIC

from service.imaging.codecs.tiff_layout import DEFLATE_COMPRESSIONS, ZSTD_COMPRESSIONS, Tag

LZMA_MEMORY = 2**27
"""Bytes: more than level 9 needs."""


def inflate(data: bytes, most: int) -> bytes:
    """Deflate with the header of zlib (Adobe's TIFF technical note 3). Raises zlib.error, also for damage.

    More data than `most` bytes are no damage, nor is a checksum that is cut off.
    """
    stream = zlib.decompressobj()
    result = stream.decompress(data, most)
    stream.decompress(stream.unconsumed_tail, 1)  # the checksum
    return result


def unpack_zstd(data: bytes, most: int) -> bytes:
    """Zstandard. Raises ZstdError, also where there is more than `most` bytes."""
    return bytes(imagecodecs.zstd_decode(data, out=most))


def unpack_lzma(data: bytes, most: int) -> bytes:
    """LZMA in the container xz. Raises LZMAError, also for damage and for what needs more than LZMA_MEMORY."""
    stream = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=LZMA_MEMORY)
    result = stream.decompress(data, most)
    if not stream.needs_input and not stream.eof:
        stream.decompress(b"", 1)  # the checksum
    return result


UNPACKERS: Mapping[COMPRESSION, Callable[[bytes, int], bytes]] = {
    COMPRESSION.NONE: lambda data, most: data[:most],
    COMPRESSION.LZMA: unpack_lzma,
    **dict.fromkeys(DEFLATE_COMPRESSIONS, inflate),
    **dict.fromkeys(ZSTD_COMPRESSIONS, unpack_zstd),
}
"""Each takes data, and the most bytes that are wanted of it."""


class StripForm(NamedTuple):
    """What libtiff needs to know of strips of one channel."""

    compression: COMPRESSION
    width: int
    rows: int
    bits: int = 8
    is_bit_reversed: bool = False
    options: int = 0
    """T4Options or T6Options of a fax (TIFF 6.0, section 11)."""


def unpack_by_libtiff(strips: Sequence[bytes], compression: COMPRESSION, size: int) -> NDArray[np.uint8]:
    """Unpack strips of LZW or PackBits (TIFF 6.0, sections 13 and 9) to (strips, size).

    More data are left. Raises OSError, also where there are less. imagecodecs is faster, but damaged LZW crashes it.
    """
    return decode_by_libtiff(strips, StripForm(compression, size, 1))


def decode_by_libtiff(strips: Sequence[bytes], form: StripForm) -> NDArray[np.uint8]:
    """Decode strips that are stored alike, to (strips × rows, width), over the whole range. Raises OSError.

    Pillow has libtiff, and gets a file of these strips alone.
    """
    directory = ImageFileDirectory_v2(b"II*\0\0\0\0\0")
    values = {
        Tag.WIDTH: form.width,
        Tag.LENGTH: form.rows * len(strips),
        Tag.BITS: form.bits,
        Tag.COMPRESSION: form.compression.value,
        Tag.PHOTOMETRIC: PHOTOMETRIC.MINISBLACK.value,
        Tag.FILL_ORDER: 2 if form.is_bit_reversed else 1,
        Tag.ROWS_PER_STRIP: form.rows,
        Tag.T4_OPTIONS: form.options,
        Tag.T6_OPTIONS: form.options,
    }
    for tag, value in values.items():
        directory[tag.value] = value
    lengths = [len(strip) for strip in strips]
    directory[Tag.STRIP_BYTE_COUNTS.value] = tuple(lengths)
    # Pillow counts them from the end of the directory.
    directory[Tag.STRIP_OFFSETS.value] = tuple(int(offset) for offset in np.cumsum([0, *lengths[:-1]]))
    file = io.BytesIO()
    directory.save(file)
    file.writelines(strips)
    file.seek(0)
    with TiffImageFile(file) as image:
        return np.asarray(image.convert("L"))
