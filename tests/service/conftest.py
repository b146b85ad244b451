"""What several tests of the service need and cannot make in a line."""

import struct

import pytest


def _tag(signature: bytes, body: bytes) -> bytes:
    return signature + bytes(4) + body


def _xyz(x: float, y: float, z: float) -> bytes:
    return _tag(b"XYZ ", struct.pack(">3i", *(round(value * 65536) for value in (x, y, z))))


@pytest.fixture
def wide_gamut() -> bytes:
    """An ICC profile (version 2, matrix) with the primaries of Display P3, adapted to D50, and gamma 2.2."""
    gamma = _tag(b"curv", struct.pack(">IH", 1, round(2.2 * 256))) + bytes(2)
    text = _tag(b"text", b"none\0") + bytes(3)
    description = _tag(b"desc", struct.pack(">I", 3) + b"P3\0" + bytes(78)) + bytes(3)
    tags = {
        b"desc": description,
        b"cprt": text,
        b"wtpt": _xyz(0.9642, 1.0, 0.8249),
        b"rXYZ": _xyz(0.51512, 0.2412, -0.00105),
        b"gXYZ": _xyz(0.29198, 0.69225, 0.04189),
        b"bXYZ": _xyz(0.1571, 0.06657, 0.78407),
        b"rTRC": gamma,
        b"gTRC": gamma,
        b"bTRC": gamma,
    }
    table, data = struct.pack(">I", len(tags)), b""
    offset = 128 + 4 + 12 * len(tags)
    for name, body in tags.items():
        table += name + struct.pack(">II", offset + len(data), len(body))
        data += body + bytes(-len(body) % 4)
    size = 128 + len(table) + len(data)
    header = struct.pack(">I4sI4s4s4s", size, bytes(4), 0x02100000, b"mntr", b"RGB ", b"XYZ ")
    header += bytes(12) + b"acsp" + bytes(28) + struct.pack(">3i", 63190, 65536, 54061) + bytes(48)
    return header + table + data
