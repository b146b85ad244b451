"""The chunks of a PNG (PNG, section 5)."""

SIGNATURE, CHUNK = 8, 12
"""Bytes of the signature, and of a chunk beside its data."""

PIXEL_CHUNKS = frozenset({b"IDAT", b"acTL", b"fcTL", b"fdAT", b"IEND"})


def without_pixels(data: bytes) -> bytes:
    """A PNG without the chunks of its pixels and its frames, up to the begin of an empty one: the rest is before it."""
    chunks, begin = [data[:SIGNATURE]], SIGNATURE
    while begin + CHUNK <= len(data):
        end = begin + CHUNK + int.from_bytes(data[begin : begin + 4], "big")
        if data[begin + 4 : begin + 8] not in PIXEL_CHUNKS:
            chunks.append(data[begin:end])
        begin = end
    return b"".join([*chunks, b"\0\0\0\0IDAT"])
