"""Colours declared by code points (ITU-T H.273, CICP), as PNG, AVIF and HEIC have them."""

from collections.abc import Mapping
from typing import NamedTuple

from service.imaging.codecs.hdr import HdrColours, HdrTransfer
from service.imaging.codecs.icc import SRGB_PRIMARIES, Primaries, build_grey_profile, build_rgb_profile

D65, ILLUMINANT_C = (0.3127, 0.3290), (0.310, 0.316)

PRIMARIES: Mapping[int, Primaries] = {
    1: SRGB_PRIMARIES,
    4: Primaries((0.67, 0.33), (0.21, 0.71), (0.14, 0.08), ILLUMINANT_C),
    5: Primaries((0.64, 0.33), (0.29, 0.60), (0.15, 0.06), D65),
    6: Primaries((0.630, 0.340), (0.310, 0.595), (0.155, 0.070), D65),
    7: Primaries((0.630, 0.340), (0.310, 0.595), (0.155, 0.070), D65),
    8: Primaries((0.681, 0.319), (0.243, 0.692), (0.145, 0.049), ILLUMINANT_C),
    9: Primaries((0.708, 0.292), (0.170, 0.797), (0.131, 0.046), D65),
    10: Primaries((1.0, 0.0), (0.0, 1.0), (0.0, 0.0), (1 / 3, 1 / 3)),
    11: Primaries((0.680, 0.320), (0.265, 0.690), (0.150, 0.060), (0.314, 0.351)),
    12: Primaries((0.680, 0.320), (0.265, 0.690), (0.150, 0.060), D65),
    22: Primaries((0.630, 0.340), (0.295, 0.605), (0.155, 0.077), D65),
}
"""ColourPrimaries (H.273, table 2): BT.709, BT.470 M and B/G, BT.601, SMPTE 240M, film, BT.2020, XYZ, DCI-P3, Display
P3 and EBU 3213."""

SRGB_CURVE = (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)
BT1886_CURVE = (2.4,)
VIDEO_TRANSFERS = frozenset({1, 6, 11, 14, 15})
"""BT.709 and the like: what a camera does, which does not tell how its signal is displayed."""

CURVES: Mapping[int, tuple[float, ...]] = {
    4: (2.2,),
    5: (2.8,),
    7: (1 / 0.45, 1 / 1.1115, 0.1115 / 1.1115, 1 / 4, 4 * 0.0228),
    8: (1.0,),
    13: SRGB_CURVE,
    17: (2.6, (52.37 / 48) ** (1 / 2.6), 0.0, 0.0, 0.0),
}
"""TransferCharacteristics (H.273, table 3), as parameters of an ICC curve: BT.470 M and B/G, SMPTE 240M, linear, sRGB,
SMPTE 428."""

HDR_TRANSFERS = {16: HdrTransfer.PQ, 18: HdrTransfer.HLG}

SRGB_CODE = (1, 13)


class CodePoints(NamedTuple):
    """Colour primaries and transfer characteristics."""

    primaries: int
    transfer: int

    @property
    def name(self) -> str:
        """What a profile of them is called."""
        return f"CICP {self.primaries}/{self.transfer}"

    @property
    def is_known(self) -> bool:
        """Whether they say how colours are meant, and we know it."""
        return self.primaries in PRIMARIES and self.transfer in {*CURVES, *VIDEO_TRANSFERS, *HDR_TRANSFERS}

    def resolve_unknown(self) -> "CodePoints":
        """With sRGB's codes in place of those that are unspecified, reserved or not known to us."""
        primaries = self.primaries if self.primaries in PRIMARIES else SRGB_CODE[0]
        transfer = self.transfer if CodePoints(primaries, self.transfer).is_known else SRGB_CODE[1]
        return CodePoints(primaries, transfer)


def declare_code_points(
    codes: CodePoints, *, is_grey: bool = False, video_curve: tuple[float, ...] = BT1886_CURVE
) -> bytes | HdrColours | None:
    """An ICC profile of known code points, or what to map to SDR; None where they are sRGB's, which needs no profile.

    `video_curve` is the one of the display for VIDEO_TRANSFERS: browsers take gamma 2.4 (BT.1886) for PNG, and sRGB's
    for AVIF.
    """
    if codes.transfer in HDR_TRANSFERS:
        return HdrColours(HDR_TRANSFERS[codes.transfer], PRIMARIES[codes.primaries])
    curve = video_curve if codes.transfer in VIDEO_TRANSFERS else CURVES[codes.transfer]
    if curve == SRGB_CURVE and (is_grey or codes.primaries == SRGB_CODE[0]):
        return None
    if is_grey:
        return build_grey_profile(codes.name, curve)
    return build_rgb_profile(codes.name, PRIMARIES[codes.primaries], curve)
