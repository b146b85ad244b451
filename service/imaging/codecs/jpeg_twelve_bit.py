"""JPEG with 12 bits a sample (ITU-T T.81, extended sequential and progressive), which Pillow does not read.

libjpeg makes up what a truncated scan lacks, and imagecodecs does not tell. What is made up depends on what follows the
data, so that they are decoded twice: followed by zeros, and by ones.
"""

import re

import imagecodecs
import numpy as np

from service.errors import CorruptImage, UnsupportedImage
from service.imaging.codecs.formats import readable_types
from service.imaging.codecs.jpeg import END_MARKER, EOI, SOS
from service.imaging.codecs.jpeg_segments import MARKER, declare_precision, read_frame
from service.imaging.pixels import Pixels, widen

PRECISION = 12

SEQUENTIAL, PROGRESSIVE = (0xC0, 0xC1), 0xC2
"""The frames that are decoded: SOF0, SOF1 and SOF2."""

PADDINGS = (bytes(64), b"\xff\x00" * 64)

MARKER_IN_SCAN = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")
"""What ends the data of a scan; restart markers do not."""

MAX_SCANS = 64
"""Encoders make about ten, and each takes the time of a picture."""


def is_twelve_bit(data: bytes) -> bool:
    """Whether samples have 12 bits. Raises CorruptImage where there is no frame."""
    return read_frame(data).precision == PRECISION


def declare_eight_bits(data: bytes) -> bytes:
    """A file of 12 bits that says it has 8: Pillow opens it for what is beside its pixels. All others as they are."""
    return declare_precision(data, 8) if is_twelve_bit(data) else data


def read_twelve_bit(data: bytes) -> Pixels:
    """Decode to uint16 over its whole range: grey (H, W), RGB (H, W, 3), or CMYK (H, W, 4) with full ink at the most.

    Raises what `decode_scans` does.
    """
    pixels = widen(decode_scans(data), PRECISION)
    return ~pixels if pixels.shape[2:] == (4,) else pixels  # 0 is full ink in every CMYK JPEG


def decode_scans(data: bytes) -> Pixels:
    """Decode values of 12 bits to uint16, of 8 bits to uint8, (H, W) or (H, W, C); YCbCr becomes RGB.

    Raises UnsupportedImage for other frames than are decoded, CorruptImage where pixels are missing, and what
    imagecodecs raises.
    """
    frame = read_frame(data)
    if frame.marker not in (*SEQUENTIAL, PROGRESSIVE) or frame.precision not in (8, PRECISION):
        detail = (
            f"a JPEG of {frame.components} components of {frame.precision} bits in a frame SOF{frame.marker - 0xC0}"
        )
        raise UnsupportedImage(f"{detail} is not accepted; send it with 8 bits", accepted=readable_types())
    scans = _cut_scans(data, ends_early=frame.marker in SEQUENTIAL)
    pixels, others = (np.asarray(imagecodecs.jpeg8_decode(scans + padding + END_MARKER)) for padding in PADDINGS)
    if pixels.shape[:2] != (frame.height, frame.width) or not np.array_equal(pixels, others):
        raise _lacks_pixels()
    return pixels


def _cut_scans(data: bytes, *, ends_early: bool) -> bytes:
    """The file to the end of its last scan.

    `ends_early` allows a file without end marker, where it has one scan.
    """
    at, end, count = 2, 0, 0
    while (found := MARKER.search(data, at)) is not None:
        marker, at = data[found.start() + 1], found.end()
        if marker == EOI:
            break
        at += int.from_bytes(data[at : at + 2])
        if marker == SOS:
            after, count = MARKER_IN_SCAN.search(data, at), count + 1
            at = end = after.start() if after else len(data)
    if count > MAX_SCANS:
        raise UnsupportedImage(f"a JPEG of more than {MAX_SCANS} scans is not accepted; save it anew")
    if not end or (found is None and not (ends_early and count == 1)):
        raise _lacks_pixels()
    return data[:end]


def _lacks_pixels() -> CorruptImage:
    return CorruptImage("the jpeg image ends before its last pixels; send a complete file")
