"""Integers in groups of seven bits, the lowest first; all bytes but the last one have the highest bit set.

https://protobuf.dev/programming-guides/encoding/#varints
"""

from model_store.errors import UnknownCheckpoint

_MOST_BYTES = 10
"""Of 64 bits."""


def take_varint(data: memoryview, position: int) -> tuple[int, int]:
    """The integer at a position, below 2⁶⁴, and the position after it. Raises UnknownCheckpoint for what is none."""
    number = 0
    for index, byte in enumerate(data[position : position + _MOST_BYTES]):
        number |= (byte & 0x7F) << 7 * index
        if byte < 0x80:
            return number % 2**64, position + index + 1
    raise UnknownCheckpoint("it is damaged: an integer in it does not end")
