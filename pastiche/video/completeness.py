"""Whether a file is complete: by the lengths that its container declares, before any of it is decoded."""

from collections.abc import Iterator
from io import SEEK_END
from pathlib import Path
from typing import BinaryIO

from av.container import InputContainer

BOXES = frozenset({b"ftyp", b"styp", b"moov", b"moof", b"mdat", b"free", b"skip", b"wide", b"sidx", b"uuid", b"meta"})
"""Of ISO 14496-12, at the top of a file; behind anything else nothing is read."""

EBML, SEGMENT = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67"
"""RFC 8794 and RFC 9559: the elements at the top of Matroska and WebM."""


def missing_bytes(path: Path, container: InputContainer) -> int:
    """How many bytes the file that was opened should have beyond its end: 0 as far as its container says.

    Of MP4 and MOV, Matroska and WebM, and AVI; the others do not say. Raises OSError.
    """
    with path.open("rb") as file:
        size = file.seek(0, SEEK_END)
        ends = [*_box_ends(file), *_segment_ends(file), *_riff_ends(file), *_sample_ends(container)]
    return max(0, *ends, size) - size


def _box_ends(file: BinaryIO) -> Iterator[int]:
    """MP4, with fragments or without (ISO 14496-12 §4.2)."""
    begin = 0
    while (head := _read(file, begin, 16))[4:8] in BOXES:
        length = int.from_bytes(head[:4], "big")
        if length == 1:
            length = int.from_bytes(head[8:16], "big")
        if length < 8:  # 0: up to the end of the file
            return
        begin += length
        yield begin


def _segment_ends(file: BinaryIO) -> Iterator[int]:
    """Matroska: what follows its header is one element (RFC 9559 §4.5), of a length that a live stream does not say."""
    head = _read(file, 0, 12)
    if head[:4] != EBML:
        return
    begin, length = _variable_integer(head, 4)
    begin += length or 0
    head = _read(file, begin, 12)
    if head[:4] == SEGMENT:
        after, length = _variable_integer(head, 4)
        if length is not None:
            yield begin + after + length


def _variable_integer(data: bytes, at: int) -> tuple[int, int | None]:
    """Where it ends, and its value, None for an unknown length (RFC 8794 §4 and §6.2)."""
    width = 9 - data[at].bit_length() if data[at:] else 9
    value = int.from_bytes(data[at : at + width], "big") & ((1 << 7 * width) - 1)
    return at + width, None if value == (1 << 7 * width) - 1 else value


def _riff_ends(file: BinaryIO) -> Iterator[int]:
    """AVI, with its continuations beyond a gigabyte."""
    begin = 0
    while (head := _read(file, begin, 12))[:4] == b"RIFF" and head[8:] in (b"AVI ", b"AVIX"):
        length = int.from_bytes(head[4:8], "little")
        if not length:  # a recording that was not ended
            return
        begin += 8 + length
        yield begin


def _sample_ends(container: InputContainer) -> Iterator[int]:
    """What the index of an MP4 points to."""
    if "mp4" in container.format.name:
        for stream in container.streams:
            yield max((entry.pos + entry.size for entry in stream.index_entries), default=0)


def _read(file: BinaryIO, begin: int, length: int) -> bytes:
    file.seek(begin)
    return file.read(length)
