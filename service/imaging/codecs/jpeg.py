"""Decodes JPEG files (ITU-T T.81), and knows whether all their pixels are there.

libjpeg fills what a scan lacks with grey, and tells of it only by a warning, which Pillow discards. Here the decoder
gets the file without its end marker. Where it waits for that marker it has all pixels; where it waits for more of a
scan it has not.
"""

import io
import re
from dataclasses import dataclass, field
from typing import Any

from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile

from service.errors import CorruptImage, ImageTooDemanding
from service.imaging.codecs.jpeg_segments import MARKER, MAX_SEGMENTS, too_many_segments

EOI, SOS, DRI = 0xD9, 0xDA, 0xDD
END_MARKER = bytes((0xFF, EOI))

TABLE_MARKERS = frozenset({0xC4, 0xCC, 0xDB, 0xDC, DRI, 0xFE, *range(0xE0, 0xF0)})
"""The segments that can stand before a scan, beside frame headers: DHT, DAC, DQT, DNL, DRI, COM and APPn."""

FRAME_MARKERS = frozenset(range(0xC0, 0xD0)) - TABLE_MARKERS
PROGRESSIVE_MARKERS, ARITHMETIC_MARKERS = frozenset({0xC2, 0xCA}), frozenset({0xC9, 0xCA})
"""Frame headers (SOFn); and those of them with progressive scans, and with arithmetic coding, that are decoded."""

MARKER_BUT_RESTART = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")
"""What ends the data of a scan. Restart markers do not, where they are announced (DRI)."""

ONES = b"\xff\x00"
"""A byte of a scan, all bits 1, which begins no Huffman code (T.81, annex C). Between scans it is skipped."""

RESTART = re.compile(rb"\xff([\xd0-\xd7])")
RESTART_CYCLE = bytes(range(0xD0, 0xD8))
"""Restart markers follow each other in this order (T.81, section B.2.1)."""

HUFFMAN_PADDING, ZERO_PADDING = ONES * 8, bytes(8)
"""What follows the last scan: the bytes that a decoder reads ahead, which make up for a block or two at the most.
Arithmetic decoders supply zeros themselves where the data of a scan end (T.81, section D.2.6)."""

BAND = 256
"""Rows that are compared at once."""

PROBES = (ONES, ONES, ONES, *(bytes((0xFF, restart)) + ONES for restart in range(0xD0, 0xD8)))
"""Pieces that a decoder consumes whole where it waits for the marker after a scan.

Where it waits for more of a scan, or for the next restart marker in it, it leaves a part of one of them until it gets
more, or takes one for the end. ONES is there more than once, for one can complete a block; a block takes over 16 bits.
"""

KEPT_ZEROS = 8
"""Of the zeros at the end of a file without end marker, how many can belong to a scan."""

COEFFICIENTS, NOT_SENT = 64, 255

MAX_SCANS = 100
"""Each scan of a progressive file goes over all its blocks: encoders make about ten of them, and this many at most."""


@dataclass
class _Scans:
    """What the scans of a file hold."""

    count: int = 0
    data_end: int = 0
    """The offset after the data of the last scan; 0 without scans."""
    end_marker: bool = False
    arithmetic: bool = False
    progressive: bool = False
    restarts: bool = False
    restarts_in_order: bool = True
    missing_bits: dict[int, bytearray] = field(default_factory=dict)
    """By component, how many low bits of each coefficient are still to be sent (T.81, section G.1.1.1), or NOT_SENT."""

    def cover_picture(self) -> bool:
        """Whether nothing is missing.

        In a file with end marker, an encoder may have left out all but the first coefficient of every component; what
        it sent has all its bits.
        """
        if self.end_marker:
            return self.data_end > 0 and all(self._is_sent(bits) for bits in self.missing_bits.values())
        return self.data_end > 0 and not any(any(bits) for bits in self.missing_bits.values())

    def _is_sent(self, missing_bits: bytearray) -> bool:
        return missing_bits[0] == 0 and set(missing_bits) <= {0, NOT_SENT}


def read_jpeg(data: bytes) -> Image.Image:
    """Decode the first picture of a file, loaded. Raises CorruptImage where pixels are missing, but for a few.

    Raises ImageTooDemanding for more than MAX_SCANS.

    A file may lack its end marker, and what follows it is ignored. Damage that leaves all pixels in place is not
    noticed. Pillow's errors are raised as they are.
    """
    scans = _find_scans(data)
    _check(scans)
    image = _read(data, scans, ZERO_PADDING if scans.arithmetic else HUFFMAN_PADDING)
    if not scans.end_marker and not scans.arithmetic and _differ(image, _read(data, scans, ZERO_PADDING)):
        raise _lacks_pixels()  # what follows the scan decides on pixels
    return image


def _read(data: bytes, scans: _Scans, padding: bytes) -> Image.Image:
    image = JpegImageFile(io.BytesIO(data))
    image.load_prepare()
    tile = image.tile[0]
    decoder = _make_decoder(image.mode, tile.args)
    decoder.setimage(image.im, tile.extents)
    _decode(decoder, _cut(data, scans) + padding)
    image.tile = []  # as it is loaded
    return image


def _differ(one: Image.Image, other: Image.Image) -> bool:
    bands = ((0, top, one.width, min(top + BAND, one.height)) for top in range(0, one.height, BAND))
    return any(one.crop(band).tobytes() != other.crop(band).tobytes() for band in bands)


def _check(scans: _Scans) -> None:
    if scans.count > MAX_SCANS:
        detail = f"the jpeg image has {scans.count} scans, and {MAX_SCANS} are accepted; save it anew"
        raise ImageTooDemanding(detail, actual=scans.count, max_accepted=MAX_SCANS)
    if not scans.cover_picture():
        raise CorruptImage("the jpeg image ends before its last scan; send a complete file")
    if not scans.restarts_in_order:
        raise CorruptImage("the jpeg image has lost a part between its restart markers; send it again")


def _make_decoder(mode: str, arguments: Any) -> Any:
    """What Pillow's `load` calls, which does not tell how much is consumed."""
    core: Any = Image.core  # type: ignore[attr-defined] # not exported
    return core.jpeg_decoder(mode, *arguments)


def _decode(decoder: Any, data: bytes) -> None:
    """Where a file has a single scan, the decoder finishes after its last row; else it waits for the end marker."""
    rest = _feed(decoder, data)
    if rest is None:
        return
    for probe in PROBES:
        rest = _feed(decoder, rest + probe)
        if rest is None or rest:
            raise _lacks_pixels()
    if _feed(decoder, END_MARKER) is not None:
        raise _lacks_pixels()


def _feed(decoder: Any, data: bytes) -> bytes | None:
    """Return what the decoder does not consume before it gets more, None where the picture is finished."""
    consumed, error = decoder.decode(data)
    if error:
        raise OSError("its pixels are damaged or missing")
    return None if consumed < 0 else data[consumed:]


def _lacks_pixels() -> CorruptImage:
    return CorruptImage("the jpeg image ends before its last pixels; send a complete file")


def _cut(data: bytes, scans: _Scans) -> bytes:
    """Remove everything after the last scan, and padding at the end of a file without end marker."""
    kept = data[: scans.data_end]
    if scans.data_end < len(data):
        return kept
    return kept[: len(kept.rstrip(b"\0")) + KEPT_ZEROS]


def _find_scans(data: bytes) -> _Scans:
    """Follow the markers to the end of the first picture, or as far as they lead.

    Raises CorruptImage for more than MAX_SEGMENTS.
    """
    scans, at = _Scans(), 2
    for _ in range(MAX_SEGMENTS):
        found = MARKER.search(data, at)
        if found is None:
            return scans
        marker, begin = data[found.start() + 1], found.end()
        if marker == EOI:
            scans.end_marker = True
        end = begin + int.from_bytes(data[begin : begin + 2], "big")
        if marker not in TABLE_MARKERS | FRAME_MARKERS | {SOS} or not begin + 2 <= end <= len(data):
            return scans
        _note_segment(scans, marker, data[begin + 2 : end])
        at = _find_scan_end(data, end, scans) if marker == SOS else end
    raise too_many_segments()


def _find_scan_end(data: bytes, begin: int, scans: _Scans) -> int:
    found = (MARKER_BUT_RESTART if scans.restarts else MARKER).search(data, begin)
    scans.data_end = found.start() if found else len(data)
    if scans.restarts:
        markers = b"".join(RESTART.findall(data, begin, scans.data_end))
        scans.restarts_in_order &= markers == (RESTART_CYCLE * (len(markers) // 8 + 1))[: len(markers)]
    return scans.data_end


def _note_segment(scans: _Scans, marker: int, body: bytes) -> None:
    if marker in FRAME_MARKERS:
        scans.progressive, scans.arithmetic = marker in PROGRESSIVE_MARKERS, marker in ARITHMETIC_MARKERS
        scans.missing_bits = {component: bytearray([NOT_SENT] * COEFFICIENTS) for component in body[6::3]}
    elif marker == DRI:
        scans.restarts = any(body)
    elif marker == SOS:
        _note_scan(scans, body)


def _note_scan(scans: _Scans, body: bytes) -> None:
    """Read a scan header (T.81, section B.2.3): the number of components, two bytes each, and what is sent of them."""
    scans.count += 1
    count = body[0] if body else 0
    first, last, bits = (*body[1 + 2 * count :][:3], 0, 0, 0)[:3]
    sent = slice(first, last + 1) if scans.progressive else slice(0, COEFFICIENTS)
    for component in body[1 : 1 + 2 * count : 2]:
        missing = scans.missing_bits.get(component, bytearray())
        missing[sent] = bytes([bits & 0x0F if scans.progressive else 0]) * len(missing[sent])
