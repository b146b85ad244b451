"""Builds ICC profiles of a few hundred bytes (ICC.1:2022)."""

import struct
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

FIXED_DATE = struct.pack(">6H", 1994, 6, 1, 0, 0, 0)
"""The month of the first ICC specification: profiles made by two processes are to be equal."""

VERSION = 0x0430_0000
RELATIVE_COLORIMETRIC = 1
HEADER = struct.Struct(">I4xI4s4s4s12s4s24xI12s48x")

D50 = np.array([0.9642, 1.0, 0.8249])
"""The white of the profile connection space (section 7.2.16)."""

BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])
"""Cone responses of XYZ, for chromatic adaptation (section E.3)."""

Matrix = NDArray[np.float64]


class Primaries(NamedTuple):
    """Chromaticities x, y."""

    red: tuple[float, float]
    green: tuple[float, float]
    blue: tuple[float, float]
    white: tuple[float, float]

    def to_xyz(self) -> Matrix:
        """The matrix from linear RGB to XYZ, Y of white 1. Raises ValueError where it has no inverse."""
        coordinates = np.array([(x, y, 1 - x - y) for x, y in self])
        if self.white[1] < MIN_WHITE_Y or abs(np.linalg.det(coordinates[:3])) < MIN_DETERMINANT:
            raise ValueError("the primaries lie on a line")
        columns = coordinates[:3].T
        matrix: Matrix = columns * np.linalg.solve(columns, coordinates[3] / self.white[1])
        return matrix


SRGB_PRIMARIES = Primaries((0.640, 0.330), (0.300, 0.600), (0.150, 0.060), (0.3127, 0.3290))
"""Those of BT.709 as well."""

MIN_WHITE_Y = 0.01
"""Of a white that has light."""

MIN_DETERMINANT = 1e-3
"""Twice the area of the triangle of the primaries; that of sRGB is 0.22."""


def adapt_to_d50(white: tuple[float, float]) -> Matrix:
    """The matrix that adapts XYZ under that white to D50."""
    x, y = white
    source = BRADFORD @ np.array([x / y, 1, (1 - x - y) / y])
    adaptation: Matrix = np.linalg.inv(BRADFORD) @ np.diag(BRADFORD @ D50 / source) @ BRADFORD
    return adaptation


def build_rgb_profile(name: str, primaries: Primaries, curve: Sequence[float]) -> bytes:
    """A matrix profile; `curve` has the parameters g, or g, a, b, c and d, of section 10.18. Raises ValueError."""
    to_xyz = primaries.to_xyz()
    adaptation = adapt_to_d50(primaries.white)
    columns = (adaptation @ to_xyz).T
    tone = _curve_tag(curve)
    tags = {b"chad": _numbers_tag(b"sf32", adaptation.ravel())}
    tags |= {
        tag: _numbers_tag(b"XYZ ", column) for tag, column in zip((b"rXYZ", b"gXYZ", b"bXYZ"), columns, strict=True)
    }
    return _assemble(b"RGB ", name, tags | dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), tone))


def build_grey_profile(name: str, curve: Sequence[float]) -> bytes:
    """A profile of grey; `curve` is that of `build_rgb_profile`."""
    return _assemble(b"GRAY", name, {b"kTRC": _curve_tag(curve)})


def _assemble(space: bytes, name: str, tags: dict[bytes, bytes]) -> bytes:
    texts = {b"desc": _text_tag(name), b"cprt": _text_tag("CC0"), b"wtpt": _numbers_tag(b"XYZ ", D50)}
    whole = texts | tags
    at = HEADER.size + 4 + 12 * len(whole)
    table, body = struct.pack(">I", len(whole)), b""
    for signature, tag in whole.items():
        table += struct.pack(">4sII", signature, at + len(body), len(tag))
        body += tag + bytes(-len(tag) % 4)
    illuminant = _fixed_point(D50)
    size = at + len(body)
    header = HEADER.pack(size, VERSION, b"mntr", space, b"XYZ ", FIXED_DATE, b"acsp", RELATIVE_COLORIMETRIC, illuminant)
    return header + table + body


def _text_tag(text: str) -> bytes:
    encoded = text.encode("utf-16-be")
    return b"mluc" + struct.pack(">4xII4sII", 1, 12, b"enUS", len(encoded), 28) + encoded


def _curve_tag(curve: Sequence[float]) -> bytes:
    return b"para" + struct.pack(">4xHxx", 0 if len(curve) == 1 else 3) + _fixed_point(curve)


def _numbers_tag(kind: bytes, numbers: Sequence[float] | Matrix) -> bytes:
    return kind + bytes(4) + _fixed_point(numbers)


def _fixed_point(numbers: Sequence[float] | Matrix) -> bytes:
    """s15Fixed16Number (section 4.6). Raises ValueError for numbers out of its range."""
    try:
        return struct.pack(f">{len(numbers)}i", *(round(number * 65_536) for number in numbers))
    except struct.error as error:
        raise ValueError("a number is too large for a profile") from error
