"""How the colours of a PNG are meant (PNG, third edition, section 13.16): by cICP, iCCP, sRGB, or gAMA and cHRM."""

import struct
from collections.abc import Mapping

from service.errors import UnsupportedImage
from service.imaging.codecs.cicp import CodePoints, declare_code_points
from service.imaging.codecs.formats import readable_types
from service.imaging.codecs.hdr import HdrColours
from service.imaging.codecs.icc import SRGB_PRIMARIES, Primaries, build_grey_profile, build_rgb_profile
from service.imaging.codecs.png import inflate

GAMMA_UNIT = 100_000
"""gAMA and cHRM store numbers times that."""

SRGB_GAMMAS = range(43_182, 47_728)
"""1/2.2, to 5 %: what a file says that means sRGB. Without primaries, browsers take it for sRGB's own curve."""

GAMMA_RANGE = range(1_000, 1_000_001)
"""What is taken for a gamma: exponents of 0.1 to 100."""

PROFILE_HEADER_BYTES = 128

PROFILE_NAME_BYTES = range(1, 80)
"""Of the name of a profile (PNG, section 11.3.2.3)."""


def declare_colours(chunks: Mapping[bytes, bytes], *, is_grey: bool) -> bytes | HdrColours | None:
    """The profile of a PNG with those chunks, one made of other declarations, or what to map to SDR; None for sRGB.

    A chunk that is broken or that says nothing is passed over. Raises UnsupportedImage for values of narrow range.
    """
    codes = _read_code_points(chunks.get(b"cICP", b""))
    if codes is not None:
        return declare_code_points(codes, is_grey=is_grey)
    profile = _read_profile(chunks.get(b"iCCP", b""))
    if profile is not None:
        return profile
    if len(chunks.get(b"sRGB", b"")) == 1:
        return None
    return _build_gamma_profile(chunks.get(b"gAMA", b""), chunks.get(b"cHRM", b""), is_grey)


def _read_code_points(body: bytes) -> CodePoints | None:
    """The code points of cICP (section 11.3.2.6): primaries, transfer, matrix (always RGB), and the range."""
    if len(body) != 4 or body[2] != 0 or body[3] > 1:
        return None
    codes = CodePoints(body[0], body[1])
    if not codes.is_known:
        return None
    if body[3] == 0:
        detail = "a PNG whose values have narrow range (cICP) is not accepted; send one of full range"
        raise UnsupportedImage(detail, accepted=readable_types())
    return codes


def _read_profile(body: bytes) -> bytes | None:
    """The profile of iCCP (section 11.3.2.3): a name, the compression method, and the data."""
    name, _, rest = body.partition(b"\0")
    profile = inflate(rest[1:]) if rest[:1] == b"\0" and len(name) in PROFILE_NAME_BYTES else None
    if profile is None or len(profile) < PROFILE_HEADER_BYTES:
        return None
    size = int.from_bytes(profile[:4])
    return profile[:size] if PROFILE_HEADER_BYTES <= size <= len(profile) else None


def _build_gamma_profile(gamma: bytes, chromaticities: bytes, is_grey: bool) -> bytes | None:
    """A profile of gAMA and cHRM (sections 11.3.2.2 and 11.3.2.1); of cHRM alone there is none."""
    value = int.from_bytes(gamma)
    if len(gamma) != 4 or value not in GAMMA_RANGE:
        return None
    curve, name = (GAMMA_UNIT / value,), f"gamma {GAMMA_UNIT / value:.4g}"
    primaries = _read_primaries(chromaticities)
    if primaries is None and value in SRGB_GAMMAS:
        return None
    if primaries is not None and any(x + y > 1 for x, y in primaries):  # no light has them
        return None
    if is_grey:
        return build_grey_profile(name, curve)
    try:
        return build_rgb_profile(name, primaries or SRGB_PRIMARIES, curve)
    except ValueError:
        return None


def _read_primaries(body: bytes) -> Primaries | None:
    """White, red, green and blue."""
    if len(body) != 32:
        return None
    x = [number / GAMMA_UNIT for number in struct.unpack(">8I", body)]
    return Primaries((x[2], x[3]), (x[4], x[5]), (x[6], x[7]), (x[0], x[1]))
