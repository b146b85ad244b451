"""Creator and rights in IPTC-IIM (version 4.2), which programs wrote before XMP."""

import struct
from collections.abc import Iterator

OWNER_DATASETS = {(2, 80): "creator", (2, 110): "Credit", (2, 116): "rights"}
"""Record and number of a dataset, and the XMP property that it corresponds to (IPTC Photo Metadata Standard)."""

DATASET, MARKER = struct.Struct(">BBBH"), 0x1C
"""What a dataset begins with: a marker, its record and number, and the size of its data (section 1.5)."""

EXTENDED, MAX_SIZE_BYTES = 0x8000, 4
"""The bit of a size that is the number of bytes in which the size follows, and how many these may be."""

RESOURCE, SIGNATURE, IPTC_RESOURCE = struct.Struct(">4sHB"), b"8BIM", 0x0404
"""What an image resource begins with: a signature, its identifier, and the length of its name (Adobe Photoshop File
Formats, section "Image Resource Blocks")."""

MAX_BLOCK_BYTES, MAX_PIECES = 2**16, 2**12
"""Bytes of a block, which is all that a segment of a JPEG has room for, and the datasets or resources that are read."""


def find_iptc(resources: bytes) -> bytes | None:
    """The block of IPTC-IIM among Photoshop's image resources; None where there is none, or resources are broken."""
    at = 0
    for _ in range(MAX_PIECES):
        if at + RESOURCE.size > len(resources):
            return None
        signature, identifier, name_bytes = RESOURCE.unpack_from(resources, at)
        begin = at + RESOURCE.size + name_bytes + (1 - name_bytes % 2) + 4
        size = int.from_bytes(resources[begin - 4 : begin])
        if signature != SIGNATURE or begin + size > len(resources):
            return None
        if identifier == IPTC_RESOURCE:
            return resources[begin : begin + size]
        at = begin + size + size % 2
    return None


def read_owner(block: bytes | None) -> dict[str, list[str]]:
    """What a block says of creator and rights, by XMP's names; of a damaged one what comes before the damage."""
    found: dict[str, list[str]] = {}
    for dataset, value in _iterate_datasets((block or b"")[:MAX_BLOCK_BYTES]):
        if dataset in OWNER_DATASETS and (text := decode_text(value).strip()):
            found.setdefault(OWNER_DATASETS[dataset], []).append(text)
    return found


def _iterate_datasets(block: bytes) -> Iterator[tuple[tuple[int, int], bytes]]:
    at = 0
    for _ in range(MAX_PIECES):
        if at + DATASET.size > len(block):
            return
        marker, record, number, size = DATASET.unpack_from(block, at)
        at += DATASET.size
        if size & EXTENDED:
            size_bytes = min(size & ~EXTENDED, MAX_SIZE_BYTES)
            at, size = at + size_bytes, int.from_bytes(block[at : at + size_bytes])
        if marker != MARKER or at + size > len(block):
            return
        yield (record, number), block[at : at + size]
        at += size


def decode_text(value: bytes) -> str:
    """Programs of today write UTF-8, older ones Latin-1, and few declare which."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")
