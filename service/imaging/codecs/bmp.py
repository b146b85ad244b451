"""BMP files: bitmaps of Windows (BITMAPINFOHEADER and its successors, MS-WMF and Win32 documentation) and of OS/2.

Read here and not with Pillow, whose reader knows a few of the layouts only.
"""

import struct
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from service.errors import CorruptImage, UnsupportedImage
from service.imaging.codecs.formats import readable_types
from service.imaging.pixels import Pixels, row_bands

FILE_HEADER = struct.Struct("<2sI4xI")
CORE_HEADER = struct.Struct("<IHHHH")
INFO_HEADER = struct.Struct("<IiiHHIIiiII")

CORE_SIZE, INFO_SIZE, V5_SIZE = 12, 40, 124
OS2_SIZES = (16, 64)

MASKS_OFFSET = FILE_HEADER.size + INFO_SIZE
"""Where the masks of the channels are: in the larger headers, or after the one of INFO_SIZE bytes."""

EMBEDDED = b"DEBM"
"""The colour space of a header of V5_SIZE bytes whose profile is in the file."""

LEVELS_5, LEVELS_8 = (0x7C00, 0x3E0, 0x1F, 0), (0xFF0000, 0xFF00, 0xFF, 0)
"""The masks of red, green, blue and alpha of 16 and 32 bits a pixel, where the file has none."""

MAX_RUN_LENGTH_BYTES = 2**22
"""Of pixels in run lengths, which are decoded one after the other: some seconds at most."""

Indices = NDArray[np.uint8]


class Compression(IntEnum):
    """How pixels are stored."""

    NONE = 0
    RLE8 = 1
    RLE4 = 2
    BITFIELDS = 3
    JPEG = 4
    PNG = 5
    ALPHA_BITFIELDS = 6


RUN_LENGTHS = (Compression.RLE8, Compression.RLE4)

END_OF_ROW, END, SKIP = range(3)
"""Commands among run lengths, after a zero."""


@dataclass(frozen=True)
class Bitmap:
    """What the headers of a file say. Every number is checked, but not that the file is long enough."""

    width: int
    height: int
    top_down: bool
    bits: int
    """Of a pixel: 1, 2, 4 or 8 with a palette, 16, 24 or 32 without."""
    compression: Compression
    masks: tuple[int, int, int, int]
    """Bits of red, green, blue and alpha in a pixel of 16 or 32 bits; 0 for a channel that is not there."""
    palette: Pixels
    """(2**bits, 3); no colours where pixels have none."""
    offset: int
    """Of the pixels in the file."""
    profile: bytes | None

    @property
    def has_alpha(self) -> bool:
        """Whether pixels have an alpha channel."""
        return self.masks[3] > 0

    @property
    def is_grey(self) -> bool:
        """Whether it has a palette of greys only."""
        return len(self.palette) > 0 and bool((self.palette == self.palette[:, :1]).all())

    @property
    def stride(self) -> int:
        """Bytes of a row, which is padded to 32 bits."""
        return (self.width * self.bits + 31) // 32 * 4


def read_bitmap(data: bytes) -> Bitmap:
    """Read the headers and the palette. Raises CorruptImage, or UnsupportedImage for layouts that nobody writes."""
    try:
        _, _, offset = FILE_HEADER.unpack_from(data)
        size = int.from_bytes(data[14:18], "little")
        width, height, bits, compression, used = _read_numbers(data, size)
    except struct.error as error:
        raise _corrupt("its header ends too early") from error
    if width < 1 or height == 0:
        raise _corrupt(f"its size is {width}×{abs(height)}")
    kind = _check_layout(bits, compression, size)
    masks = _read_masks(data, size, bits, kind)
    return Bitmap(
        width,
        abs(height),
        height < 0,
        bits,
        kind,
        masks,
        _read_palette(data, size, bits, used, offset),
        offset,
        _read_profile(data, size),
    )


def read_pixels(data: bytes) -> Pixels:
    """Decode a file that `read_bitmap` accepts: uint8 (H, W), (H, W, 3) or (H, W, 4). Raises CorruptImage."""
    bitmap = read_bitmap(data)
    rows = _read_rows(data, bitmap)
    rows = rows if bitmap.top_down else rows[::-1]
    if bitmap.bits <= 8:
        palette = bitmap.palette[:, 0] if bitmap.is_grey else bitmap.palette
        result: Pixels = palette[rows]
        return result
    if bitmap.bits == 24:
        return rows.reshape(bitmap.height, bitmap.width, 3)[..., ::-1]
    return _split_masks(rows, bitmap)


def _read_numbers(data: bytes, size: int) -> tuple[int, int, int, int, int]:
    """Width, height, bits of a pixel, compression, colours of the palette (0: as many as there can be)."""
    if size == CORE_SIZE:
        _, width, height, _, bits = CORE_HEADER.unpack_from(data, FILE_HEADER.size)
        return width, height, bits, Compression.NONE, 0
    whole = data[FILE_HEADER.size : FILE_HEADER.size + size].ljust(INFO_SIZE, b"\0")
    if len(data) < FILE_HEADER.size + size:
        raise struct.error
    _, width, height, _, bits, compression, _, _, _, used, _ = INFO_HEADER.unpack_from(whole)
    return width, height, bits, compression, used


def _check_layout(bits: int, compression: int, size: int) -> Compression:
    """The compression, where it goes with the bits of a pixel."""
    if compression in (Compression.JPEG, Compression.PNG) and size not in OS2_SIZES:
        raise _unsupported(f"a {Compression(compression).name} wrapped in a BMP")
    allowed = {Compression.RLE8: (8,), Compression.RLE4: (4,), Compression.NONE: (1, 2, 4, 8, 16, 24, 32)}
    if size not in OS2_SIZES:  # there 3 is a fax compression, and 4 run lengths of colours
        allowed |= dict.fromkeys((Compression.BITFIELDS, Compression.ALPHA_BITFIELDS), (16, 32))
    if compression not in allowed or bits not in allowed[Compression(compression)]:
        raise _unsupported(f"a BMP of {bits} bits a pixel with the compression {compression}")
    return Compression(compression)


def _read_masks(data: bytes, size: int, bits: int, compression: Compression) -> tuple[int, int, int, int]:
    if bits not in (16, 32):
        return 0, 0, 0, 0
    if compression is Compression.NONE:
        return LEVELS_5 if bits == 16 else LEVELS_8
    has_alpha = size >= 56 or compression is Compression.ALPHA_BITFIELDS
    try:
        red, green, blue, alpha = struct.unpack_from("<4I", data.ljust(MASKS_OFFSET + 16, b"\0"), MASKS_OFFSET)
    except struct.error as error:
        raise _corrupt("its header ends too early") from error
    masks = red, green, blue, alpha if has_alpha else 0
    for mask in masks:
        if mask >> bits or not _is_contiguous(mask):
            raise _unsupported(f"a BMP whose channels have the bits {', '.join(map(hex, masks))}")
    return masks


def _is_contiguous(mask: int) -> bool:
    return (mask + (mask & -mask)) & mask == 0


def _read_palette(data: bytes, size: int, bits: int, used: int, offset: int) -> Pixels:
    """Colours that the file lacks are black. A palette ends where the pixels begin."""
    if bits > 8:
        return np.empty((0, 3), np.uint8)
    entry = 3 if size == CORE_SIZE else 4
    begin = FILE_HEADER.size + size
    count = min(used or 2**bits, 2**bits, max(0, offset - begin) // entry)
    stored = np.frombuffer(data[begin : begin + count * entry], np.uint8)
    stored = stored[: len(stored) // entry * entry].reshape(-1, entry)
    palette = np.zeros((2**bits, 3), np.uint8)
    palette[: len(stored)] = stored[:, 2::-1]
    return palette


def _read_profile(data: bytes, size: int) -> bytes | None:
    """The ICC profile that the file embeds, None where there is none, or it is not there."""
    header = data[FILE_HEADER.size : FILE_HEADER.size + size]
    if size != V5_SIZE or header[56:60] != EMBEDDED:
        return None
    begin, length = struct.unpack_from("<II", header, 112)
    profile = data[FILE_HEADER.size + begin :][:length]
    return profile if length and len(profile) == length else None


def _read_rows(data: bytes, bitmap: Bitmap) -> NDArray[np.uint8]:
    """The stored rows in the order of the file, without padding: indices (H, W), or bytes (H, W × bytes a pixel)."""
    if bitmap.compression in RUN_LENGTHS:
        return _read_run_lengths(data[bitmap.offset :], bitmap)
    length = bitmap.stride * bitmap.height
    used = (bitmap.width * bitmap.bits + 7) // 8
    missing = length - (len(data) - bitmap.offset)
    if missing > bitmap.stride - used:  # some programs leave out the padding of the last row
        raise _corrupt("its pixels end too early")
    stored = data if missing <= 0 else data + bytes(missing)
    rows = np.frombuffer(stored, np.uint8, length, bitmap.offset).reshape(bitmap.height, bitmap.stride)
    return _unpack_bits(rows[:, :used], bitmap)


def _unpack_bits(rows: NDArray[np.uint8], bitmap: Bitmap) -> NDArray[np.uint8]:
    """Indices of less than 8 bits as bytes; the first pixel has the highest bits."""
    per_byte = 8 // bitmap.bits if bitmap.bits < 8 else 1
    if per_byte == 1:
        return rows
    result = np.empty((len(rows), rows.shape[1] * per_byte), np.uint8)
    for index in range(per_byte):
        result[:, index::per_byte] = rows >> (8 - bitmap.bits * (index + 1)) & (2**bitmap.bits - 1)
    return result[:, : bitmap.width]


def _split_masks(rows: NDArray[np.uint8], bitmap: Bitmap) -> Pixels:
    """The channels of pixels of 16 or 32 bits, scaled to 8 bits: (H, W, 3), or (H, W, 4) with alpha.

    Alpha that is 0 throughout was never written: such a picture is opaque, as browsers show it.
    """
    masks = bitmap.masks if bitmap.has_alpha else bitmap.masks[:3]
    stored = np.ascontiguousarray(rows).view(f"<u{bitmap.bits // 8}")
    result = np.empty((*stored.shape, len(masks)), np.uint8)
    for band in row_bands(len(stored), stored.shape[1] * len(masks)):
        for channel, mask in enumerate(masks):
            result[band, :, channel] = _scale_channel(stored[band], mask)
    return result[..., :3] if bitmap.has_alpha and not result[..., 3].any() else result


def _scale_channel(stored: NDArray[np.unsignedinteger], mask: int) -> Pixels:
    if mask == 0:
        return np.zeros(stored.shape, np.uint8)
    shift = (mask & -mask).bit_length() - 1
    values = ((stored & mask) >> shift).astype(np.uint64)
    most = mask >> shift
    scaled: Pixels = ((values * 510 + most) // (2 * most)).astype(np.uint8)
    return scaled


def _read_run_lengths(data: bytes, bitmap: Bitmap) -> Indices:
    """Indices (H, W). Pixels that the file skips have the first colour; runs end at the end of their row."""
    if len(data) > MAX_RUN_LENGTH_BYTES:
        raise _unsupported(f"a BMP of more than {MAX_RUN_LENGTH_BYTES} bytes in run lengths")
    width, height, patterns = bitmap.width, bitmap.height, _run_patterns(bitmap.bits)
    plane, x, y, place = bytearray(width * height), 0, 0, 0
    try:
        while y < height and (x < width or y < height - 1):
            count, value = data[place], data[place + 1]
            place += 2
            if count:
                run = patterns[value][:count]
            elif value > SKIP:
                run, place = _read_listed(data, place, value, bitmap.bits)
            elif value == END:
                break
            else:
                skipped = value == SKIP
                x, y = (x + data[place], y + data[place + 1]) if skipped else (0, y + 1)
                place += 2 * skipped
                continue
            begin, end = y * width + x, min(x + len(run), width)
            if end > x:
                plane[begin : begin + end - x] = run[: end - x]
            x += len(run)
    except IndexError as error:
        raise _corrupt("its pixels end too early") from error
    return np.frombuffer(plane, np.uint8).reshape(height, width)


def _run_patterns(bits: int) -> list[bytes]:
    """The longest run for each value: of that pixel, or of its two halves in turn."""
    return [bytes((value,)) * 256 if bits == 8 else bytes((value >> 4, value & 15)) * 128 for value in range(256)]


def _read_listed(data: bytes, place: int, count: int, bits: int) -> tuple[bytes, int]:
    """Pixels that are listed, padded to 16 bits, and where they end."""
    length = (count * bits + 7) // 8
    listed = data[place : place + length]
    if len(listed) < length:
        raise IndexError
    if bits == 4:
        listed = bytes.fromhex("0" + "0".join(listed.hex()))[:count]
    return listed, place + length + length % 2


def _corrupt(what: str) -> CorruptImage:
    return CorruptImage(f"the bmp image is broken: {what}; send a complete file")


def _unsupported(what: str) -> UnsupportedImage:
    types = readable_types()
    detail = f"{what} is not accepted; save it as an ordinary BMP of 1 to 32 bits a pixel, or as a PNG"
    return UnsupportedImage(detail, accepted=types)
