"""Files that are small and costly to read or to decode, and one that is not, to measure what they do to others."""

import io
import struct
import zlib
from collections.abc import Callable, Mapping

import numpy as np
from PIL import Image

SIDE = 3000
"""Of the pictures, in pixels."""

SOS = b"\xff\xda"
FIRST_COEFFICIENT, BITS = 5, 7
"""Where the header of a scan with one component says what it sends: the first of its coefficients, and which bits; less
than 16 are their first ones (ITU-T T.81, section B.2.3)."""


def scan_bomb(scans: int = 100, side: int = SIDE) -> bytes:
    """A progressive JPEG one of whose scans is repeated: each goes over all blocks again."""
    file = io.BytesIO()
    _gradient().resize((side, side)).save(file, "JPEG", progressive=True)
    before, *rest = file.getvalue().split(SOS)
    repeated = next(scan for scan in rest if scan[FIRST_COEFFICIENT] > 0 and scan[BITS] < 16)
    at = rest.index(repeated)
    copies = [repeated] * (scans - len(rest))
    return SOS.join([before, *rest[:at], *copies, *rest[at:]])


def chunk_bomb(chunks: int = 1_000_000) -> bytes:
    """A PNG of 64×64 with many empty chunks before its pixels."""
    content = harmless()
    pixels = content.index(b"IDAT") - 4
    return content[:pixels] + _chunk(b"teSt", b"") * chunks + content[pixels:]


def block_bomb(blocks: int = 1_000_000) -> bytes:
    """A GIF of 64×64 with many comments before its picture."""
    file = io.BytesIO()
    _gradient().resize((64, 64)).save(file, "GIF")
    content = file.getvalue()
    picture = content.index(b"\x2c", 13 + 3 * 2 ** ((content[10] & 7) + 1))  # after the palette
    return content[:picture] + b"\x21\xfe\x01 \x00" * blocks + content[picture:]


def packet_bomb(elements: int = 1_500_000) -> bytes:
    """A PNG of 64×64 whose XMP has many elements."""
    content = harmless()
    pixels = content.index(b"IDAT") - 4
    packet = b'<x:xmpmeta xmlns:x="adobe:ns:meta/">' + b"<x:a/>" * elements + b"</x:xmpmeta>"
    text = b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(packet, 9)
    return content[:pixels] + _chunk(b"iTXt", text) + content[pixels:]


def pixel_bomb() -> bytes:
    """A PNG of one colour and 81 megapixels in 0.2 MB."""
    file = io.BytesIO()
    Image.new("RGB", (9000, 9000)).save(file, "PNG", compress_level=9)
    return file.getvalue()


def harmless() -> bytes:
    """A PNG of 64×64: beside it one sees what any two more clients cost."""
    file = io.BytesIO()
    _gradient().resize((64, 64)).save(file, "PNG")
    return file.getvalue()


FILES: Mapping[str, Callable[[], bytes]] = {
    "harmless": harmless,
    "scans": scan_bomb,
    "chunks": chunk_bomb,
    "blocks": block_bomb,
    "packet": packet_bomb,
    "pixels": pixel_bomb,
}


def _gradient() -> Image.Image:
    column = np.linspace(0, 255, SIDE).astype(np.uint8)
    return Image.fromarray(np.broadcast_to(column[:, None, None], (SIDE, SIDE, 3)).copy())


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
