"""The chunks of a PNG (PNG, third edition, section 5).

Chunks that carry pixels, and those that say something of them, are read apart: what is broken beside the pixels is left
out, and the pixels are still good.
"""

import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from service.errors import CorruptImage
from service.imaging.codecs.formats import unsupported_image

SIGNATURE_BYTES = 8
CHUNK_OVERHEAD = 12
"""Bytes of a chunk beside its data: length, type and CRC."""

HEADER_BYTES = 13
HEADER_END = SIGNATURE_BYTES + CHUNK_OVERHEAD + HEADER_BYTES
"""The offset after the header chunk, which is always the first one."""

DEPTH_OFFSET, COLOUR_TYPE_OFFSET = 24, 25
"""Offsets of two fields of the header (PNG, section 11.2.1)."""

METHODS = slice(26, 28)
"""Where the header has the methods of compression and filtering; there is only method 0."""

GREYSCALE, TRUECOLOUR, INDEXED = 0, 2, 3
"""Colour types without an alpha channel."""

GREY_COLOUR_TYPES = (GREYSCALE, 4)
"""Greyscale, without and with alpha."""

APPLE_CHUNK = b"CgBI"
"""What begins the PNG of an iOS program, whose pixels are stored in another way."""

ANIMATION_BYTES = 8
"""Of the data of acTL: the number of frames, which is not 0, and that of plays (PNG, section 11.3.6.1)."""

CRITICAL_CHUNKS = frozenset({b"IHDR", b"PLTE", b"IDAT", b"IEND"})
ANIMATION_CHUNKS = frozenset({b"acTL", b"fcTL", b"fdAT"})
PIXEL_CHUNKS = CRITICAL_CHUNKS | ANIMATION_CHUNKS | {b"tRNS"}

COLOUR_CHUNKS = frozenset({b"cICP", b"iCCP", b"sRGB", b"gAMA", b"cHRM"})
"""What says how colours are meant; such a chunk comes before the palette and the pixels (PNG, section 5.6)."""

XMP_KEYWORD = b"XML:com.adobe.xmp"
RAW_EXIF_KEYWORD, RAW_XMP_KEYWORD, RAW_IPTC_KEYWORD = (
    b"Raw profile type " + name for name in (b"exif", b"xmp", b"iptc")
)
"""Keywords of texts that are metadata: XMP (ISO 16684-3), and what ImageMagick writes in hexadecimal digits."""
METADATA_KEYWORDS = (XMP_KEYWORD, RAW_EXIF_KEYWORD, RAW_XMP_KEYWORD, RAW_IPTC_KEYWORD)

TEXT_CHUNKS = frozenset({b"tEXt", b"zTXt", b"iTXt"})
EXIF_CHUNK = b"eXIf"

MAX_ENTRIES = 256
"""Of a palette (PNG, section 11.2.2)."""

MAX_CHUNKS = 2**17
"""So many chunks are followed: more are in no picture, but can be in a file made to cost time."""

MAX_INFLATED_BYTES = 8 * 2**20
"""The largest compressed text or profile that is read."""

FIRST_ANCILLARY = b"a"
"""The first letter of the type of a critical chunk is upper case (PNG, section 5.4)."""

READ_CHUNKS = PIXEL_CHUNKS | COLOUR_CHUNKS | TEXT_CHUNKS | {EXIF_CHUNK}

HEAD = struct.Struct(">I4s")


@dataclass(frozen=True)
class SideChunks:
    """What a PNG has beside its pixels, as far as it is whole."""

    colours: dict[bytes, bytes] = field(default_factory=dict)
    """The data of the first chunk of each type in COLOUR_CHUNKS."""
    exif: bytes | None = None
    raw_exif: str | None = None
    """EXIF in hexadecimal digits, after three lines."""
    xmp: bytes | None = None
    iptc: bytes | None = None
    """Image resources, or IPTC-IIM alone."""


def read_bit_depth(data: bytes) -> int:
    """The bits of a channel, or of a palette index."""
    return data[DEPTH_OFFSET]


def is_greyscale(data: bytes) -> bool:
    """Whether the file has a single channel of colour."""
    return data[COLOUR_TYPE_OFFSET] in GREY_COLOUR_TYPES


def extract_pixels(data: bytes) -> bytes:
    """The file with nothing but its header, palette, transparency, pixels and frames, and with an end.

    Broken transparency is left out, as is a broken announcement of an animation. Consecutive IDAT chunks become one, as
    Pillow takes time for each. Raises CorruptImage where header, palette, pixels or frames are damaged, and
    UnsupportedImage for a critical chunk that PNG does not have.
    """
    _check_header(data)
    writer = _PixelWriter(data)
    for kind, at, end in find_chunks(data):
        if kind in PIXEL_CHUNKS:
            writer.add(kind, at, end)
        elif kind not in READ_CHUNKS and not writer.has_pixels:
            raise unsupported_image(f"a PNG with a critical chunk of another standard ({ascii(kind)[2:-1]})")
    return writer.finish()


def read_side_chunks(data: bytes) -> SideChunks:
    """Read what describes the pixels, wherever it is in the file. A chunk that is damaged or too large is left out."""
    colours: dict[bytes, bytes] = {}
    others: dict[bytes, bytes] = {}
    may_declare = True
    for kind, at, end in find_chunks(data):
        if kind in (b"PLTE", b"IDAT"):
            may_declare = False
        elif kind in COLOUR_CHUNKS:
            if may_declare and kind not in colours and _is_intact(data, at, end):
                colours[kind] = data[at + 8 : end - 4]
        elif (name := _name_metadata(data, kind, at)) and name not in others and _is_intact(data, at, end):
            others[name] = kind + data[at + 8 : end - 4]
    return SideChunks(
        colours,
        others[EXIF_CHUNK][4:] if EXIF_CHUNK in others else None,
        (_read_text(others.get(RAW_EXIF_KEYWORD)) or b"").decode("latin-1") or None,
        _read_text(others.get(XMP_KEYWORD)) or _read_raw_profile(others.get(RAW_XMP_KEYWORD)),
        _read_raw_profile(others.get(RAW_IPTC_KEYWORD)),
    )


def inflate(data: bytes) -> bytes | None:
    """Decompress a zlib stream as far as it goes; None where it is damaged or too large."""
    inflater = zlib.decompressobj()
    try:
        result = inflater.decompress(data, MAX_INFLATED_BYTES + 1)
    except zlib.error:
        return None
    return result if len(result) <= MAX_INFLATED_BYTES else None


def insert_metadata(data: bytes, source: bytes) -> bytes:
    """Insert the metadata chunks of `source`, a PNG without a palette, after the header of `data`."""
    chunks = (source[at:end] for kind, at, end in find_chunks(source) if kind not in CRITICAL_CHUNKS)
    return data[:HEADER_END] + b"".join(chunks) + data[HEADER_END:]


class _PixelWriter:
    """Collects the chunks of pixels."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._view = memoryview(data)
        self._written: list[bytes | memoryview] = [self._view[:HEADER_END]]
        self._open: list[memoryview] = []
        """The data of the IDAT chunks that are not yet written."""
        self._seen: set[bytes] = set()
        self._entries = 0
        """Of the palette, as far as there is one."""
        self._announcement = 0
        """Where acTL is in what is written; 0 without one."""
        self._frames = 0
        self._frame_begins = False
        """Whether the data of a frame are to follow its fcTL."""

    @property
    def has_pixels(self) -> bool:
        """Whether an IDAT chunk was added."""
        return b"IDAT" in self._seen

    def add(self, kind: bytes, at: int, end: int) -> None:
        """Add what is needed of a chunk; what stands where it may not is left out."""
        match kind:
            case b"IDAT":
                self._check(kind, at, end)
                self._count_frame()
                self._open.append(self._view[at + 8 : min(end - 4, len(self._data))])
                self._seen.add(kind)
            case b"PLTE":
                self._add_palette(at, end)
            case b"tRNS":
                self._add_transparency(at, end)
            case b"acTL":
                self._add_animation(at, end)
            case b"fcTL" | b"fdAT":
                self._add_frame(kind, at, end)
            case b"IEND":
                self._seen.add(kind)

    def finish(self) -> bytes:
        """Return the file. Raises CorruptImage where it has no pixels, or indices without a palette."""
        if not self.has_pixels:
            raise CorruptImage("the png image ends before its pixels; send a complete file")
        self._close()
        self._finish_animation()
        return b"".join([*self._written, build_chunk(b"IEND", b"")])

    def _add_palette(self, at: int, end: int) -> None:
        """Other colour types than indexed have a palette as a mere suggestion."""
        if self._data[COLOUR_TYPE_OFFSET] != INDEXED or self._seen & {b"PLTE", b"IDAT"}:
            return
        self._check(b"PLTE", at, end)
        entries = min((end - at - CHUNK_OVERHEAD) // 3, MAX_ENTRIES)
        if end > len(self._data) or not entries:
            raise CorruptImage("the palette of the png image is broken; save it anew")
        self._entries = entries
        black = bytes(3 * (MAX_ENTRIES - entries))  # what pixels are whose index has no entry
        self._write(b"PLTE", build_chunk(b"PLTE", self._data[at + 8 : at + 8 + 3 * entries] + black))

    def _add_transparency(self, at: int, end: int) -> None:
        if self._seen & {b"tRNS", b"IDAT"} or not self._is_intact(at, end):
            return
        body = _normalize_transparency(self._data, self._data[at + 8 : end - 4], self._entries)
        if body is not None:
            self._write(b"tRNS", build_chunk(b"tRNS", body))

    def _add_animation(self, at: int, end: int) -> None:
        """Without a whole announcement, a file is its default image."""
        if self._seen & {b"IDAT", b"acTL"} or end - at != CHUNK_OVERHEAD + ANIMATION_BYTES:
            return
        if self._is_intact(at, end) and any(self._data[at + 8 : at + 12]):
            self._announcement = len(self._written)
            self._write(b"acTL", self._view[at:end])

    def _add_frame(self, kind: bytes, at: int, end: int) -> None:
        if b"acTL" not in self._seen:
            return
        self._check(kind, at, end)
        if end > len(self._data):
            raise CorruptImage("the png image ends before its last frame; send a complete file")
        self._write(kind, self._view[at:end])
        if kind == b"fcTL":
            self._frame_begins = True
        else:
            self._count_frame()

    def _count_frame(self) -> None:
        self._frames += self._frame_begins
        self._frame_begins = False

    def _finish_animation(self) -> None:
        """Announce the frames that there are, whatever acTL says; without frames a file is its default image.

        Raises CorruptImage for a file without end that has fewer frames than it announces.
        """
        if not self._announcement:
            return
        announced = self._written[self._announcement]
        if b"IEND" not in self._seen and self._frames < int.from_bytes(announced[8:12]):
            raise CorruptImage("the png image ends before its last frame; send a complete file")
        if self._frame_begins:
            self._written.pop()
        del self._written[self._announcement]
        if self._frames:
            body = struct.pack(">I", self._frames) + announced[12:16]
            self._written.insert(self._announcement, build_chunk(b"acTL", body))

    def _write(self, kind: bytes, piece: bytes | memoryview) -> None:
        self._close()
        self._seen.add(kind)
        self._written.append(piece)

    def _close(self) -> None:
        """Write the open IDAT chunks as one."""
        if not self._open:
            return
        if self._data[COLOUR_TYPE_OFFSET] == INDEXED and b"PLTE" not in self._seen:
            raise CorruptImage("the png image has indices into a palette and no palette; save it anew")
        self._written += _join_chunks(b"IDAT", self._open)
        self._open = []

    def _check(self, kind: bytes, at: int, end: int) -> None:
        """Refuse a damaged chunk; of one that the file ends in, the decoder finds out what is missing."""
        if end <= len(self._data) and not self._is_intact(at, end):
            raise CorruptImage(
                f"the png image is damaged: a checksum (CRC) of its {kind.decode()} chunks is wrong; send it again"
            )

    def _is_intact(self, at: int, end: int) -> bool:
        return _is_intact(self._data, at, end)


def _check_header(data: bytes) -> None:
    if data[SIGNATURE_BYTES + 4 : SIGNATURE_BYTES + 8] == APPLE_CHUNK:
        raise unsupported_image("a PNG optimized for iOS (CgBI)")
    whole = data[SIGNATURE_BYTES : SIGNATURE_BYTES + 8] == HEAD.pack(HEADER_BYTES, b"IHDR")
    if not whole or not _is_intact(data, SIGNATURE_BYTES, HEADER_END) or any(data[METHODS]):
        raise CorruptImage("the header of the png image is broken; send a complete file")


def _normalize_transparency(data: bytes, body: bytes, entries: int) -> bytes | None:
    """The transparent colour or palette entries, None where they are broken (PNG, section 11.3.1.1).

    Only the low bits count of a colour of up to 8 bits. Grey of fewer bits is scaled to 8 as Pillow scales the pixels.
    """
    depth, colour_type = data[DEPTH_OFFSET], data[COLOUR_TYPE_OFFSET]
    if colour_type == INDEXED:
        return body if 0 < len(body) <= entries else None
    if len(body) != {GREYSCALE: 2, TRUECOLOUR: 6}.get(colour_type):
        return None
    if depth == 16:
        return body
    scale = 255 // (2**depth - 1) if depth in (2, 4) else 1
    samples = struct.unpack(f">{len(body) // 2}H", body)
    return struct.pack(f">{len(samples)}H", *((sample & 2**depth - 1) * scale for sample in samples))


def _name_metadata(data: bytes, kind: bytes, at: int) -> bytes | None:
    """The keyword of a text that is metadata, or the type of a chunk of EXIF."""
    if kind == EXIF_CHUNK:
        return EXIF_CHUNK
    if kind not in TEXT_CHUNKS:
        return None
    return next((keyword for keyword in METADATA_KEYWORDS if data.startswith(keyword + b"\0", at + 8)), None)


def _read_text(chunk: bytes | None) -> bytes | None:
    """The text of a type and data (PNG, sections 11.3.3.2 to 11.3.3.4), which may be compressed."""
    if chunk is None:
        return None
    kind, (_, _, body) = chunk[:4], chunk[4:].partition(b"\0")
    readers: dict[bytes, Callable[[bytes], bytes | None]] = {b"zTXt": _read_compressed, b"iTXt": _read_international}
    return readers[kind](body) if kind in readers else body


def _read_raw_profile(chunk: bytes | None) -> bytes | None:
    """The bytes that stand in hexadecimal digits after three lines of a text; None where there are none."""
    lines = (_read_text(chunk) or b"").split(b"\n", 3)
    try:
        return bytes.fromhex(lines[3].decode("ascii"))
    except (IndexError, ValueError):
        return None


def _read_compressed(body: bytes) -> bytes | None:
    return inflate(body[1:]) if body[:1] == b"\0" else None


def _read_international(body: bytes) -> bytes | None:
    """Compression flag and method, language and translated keyword come before the text."""
    pieces = body[2:].split(b"\0", 2)
    if len(pieces) < 3:
        return None
    match body[:2]:
        case b"\0\0" | b"\0\1":
            return pieces[2]
        case b"\1\0":
            return inflate(pieces[2])
    return None


def _is_intact(data: bytes, at: int, end: int) -> bool:
    """Whether a chunk is whole, and its CRC is right."""
    return end <= len(data) and zlib.crc32(memoryview(data)[at + 4 : end - 4]) == int.from_bytes(data[end - 4 : end])


def _join_chunks(kind: bytes, bodies: list[memoryview]) -> list[bytes | memoryview]:
    crc = zlib.crc32(kind)
    for body in bodies:
        crc = zlib.crc32(body, crc)
    return [HEAD.pack(sum(map(len, bodies)), kind), *bodies, struct.pack(">I", crc)]


def build_chunk(kind: bytes, body: bytes | memoryview) -> bytes:
    """A chunk with its length and its CRC."""
    return b"".join([HEAD.pack(len(body), kind), body, zlib.crc32(body, zlib.crc32(kind)).to_bytes(4)])


def find_chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Yield type, begin and end of every chunk up to IEND that is read here, or that is critical.

    The last one of a truncated file ends after the file. Raises CorruptImage for more than MAX_CHUNKS.
    """
    unpack, end, last = HEAD.unpack_from, SIGNATURE_BYTES, len(data) - HEAD.size
    for _ in range(MAX_CHUNKS):
        if end > last:
            return
        begin = end
        length, kind = unpack(data, begin)
        end += CHUNK_OVERHEAD + length
        if kind in READ_CHUNKS or kind < FIRST_ANCILLARY:
            yield kind, begin, end
            if kind == b"IEND":
                return
    raise CorruptImage(f"the png image has more than {MAX_CHUNKS} chunks; save it anew")
