"""Maps pictures of high dynamic range, PQ and HLG (ITU-R BT.2100), to sRGB.

Light is measured against the reference white of 203 cd/m² (ITU-R BT.2408). What is darker than about half of it stays
as it is. Above, brightness is compressed by the knee of ITU-R BT.2390, section 5.4.1, so that 1,000 cd/m² become the
white of sRGB: by the largest of the three channels, so that hues stay. Colours outside sRGB are clipped, as in a
conversion by profiles.
"""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from service.imaging.codecs.icc import SRGB_PRIMARIES, Primaries, adapt_to_d50
from service.imaging.pixels import BAND_VALUES, Pixels, row_bands

REFERENCE_WHITE, MASTER_PEAK, PQ_PEAK = 203.0, 1000.0, 10_000.0
"""cd/m²: the white of SDR, the brightest light that is told apart, and the largest value of PQ."""

PQ_M1, PQ_M2, PQ_C1, PQ_C2, PQ_C3 = 2610 / 16_384, 2523 / 32, 3424 / 4096, 2413 / 128, 2392 / 128
"""Constants of PQ (BT.2100, table 4)."""

HLG_A, HLG_B, HLG_C = 0.178_832_77, 0.284_668_92, 0.559_910_73
"""Constants of HLG (BT.2100, table 5)."""

HLG_SYSTEM_GAMMA = 1.2
"""Of a display with a peak of 1,000 cd/m² (BT.2100, table 5, note 5f)."""

Light = NDArray[np.float32]
"""Any shape, linear, in cd/m²."""


class HdrTransfer(StrEnum):
    """How values stand for light."""

    PQ = "pq"
    HLG = "hlg"


@dataclass(frozen=True)
class HdrColours:
    """The colours of a picture of high dynamic range."""

    transfer: HdrTransfer
    primaries: Primaries


def map_to_srgb(pixels: Pixels, colours: HdrColours, *, band_values: int = BAND_VALUES) -> Pixels:
    """Convert (H, W, 3) or grey (H, W) to sRGB, (H, W, 3) of the same type; `band_values` is that of `row_bands`."""
    given = pixels if pixels.ndim == 3 else np.stack([pixels] * 3, axis=-1)
    result = np.empty_like(given)
    white = np.iinfo(given.dtype).max
    table = _decode_values(np.linspace(0, 1, white + 1), colours.transfer)
    matrix = _to_srgb_primaries(colours.primaries)
    for rows in row_bands(len(given), given[0].size, band_values=band_values):
        light = table[given[rows]]
        if colours.transfer is HdrTransfer.HLG:
            light = _apply_system_gamma(light, colours.primaries)
        shown = _compress_highlights(light) @ matrix.T / np.float32(REFERENCE_WHITE)
        result[rows] = np.rint(encode_srgb(shown) * white)
    return result


def _decode_values(values: NDArray[np.floating], transfer: HdrTransfer) -> Light:
    """The light of values 0 to 1; for HLG that of the scene, with the peak 1."""
    if transfer is HdrTransfer.PQ:
        root = values ** (1 / PQ_M2)
        light = PQ_PEAK * (np.maximum(root - PQ_C1, 0) / (PQ_C2 - PQ_C3 * root)) ** (1 / PQ_M1)
        return np.asarray(light, np.float32)
    scene = np.where(values <= 0.5, values**2 / 3, (np.exp((values - HLG_C) / HLG_A) + HLG_B) / 12)
    return scene.astype(np.float32)


def _apply_system_gamma(scene: Light, primaries: Primaries) -> Light:
    """The light of a display of MASTER_PEAK from that of the scene (BT.2100, table 5, OOTF)."""
    luminance = scene @ primaries.to_xyz()[1].astype(np.float32)
    gain = np.float32(MASTER_PEAK) * np.maximum(luminance, 0) ** np.float32(HLG_SYSTEM_GAMMA - 1)
    light: Light = scene * gain[..., None]
    return light


def _compress_highlights(light: Light) -> Light:
    """Scale (H, W, 3) so that MASTER_PEAK becomes REFERENCE_WHITE."""
    brightest = light.max(axis=-1, keepdims=True)
    white, peak = _encode_pq(np.array([REFERENCE_WHITE, MASTER_PEAK], np.float32))
    level, most = _encode_pq(np.minimum(brightest, np.float32(MASTER_PEAK))) / peak, white / peak
    knee = 1.5 * most - 0.5
    t = np.maximum(level - knee, 0) / (1 - knee)
    above = (2 * t**3 - 3 * t**2 + 1) * knee + (t**3 - 2 * t**2 + t) * (1 - knee) + (3 * t**2 - 2 * t**3) * most
    compressed = np.where(level > knee, above, level) * peak
    target = _decode_values(compressed, HdrTransfer.PQ)
    scaled: Light = light * (target / np.maximum(brightest, np.float32(1e-6)))
    return scaled


def _encode_pq(light: Light) -> Light:
    power = (light / np.float32(PQ_PEAK)) ** np.float32(PQ_M1)
    encoded: Light = ((PQ_C1 + PQ_C2 * power) / (1 + PQ_C3 * power)) ** np.float32(PQ_M2)
    return encoded


def _to_srgb_primaries(primaries: Primaries) -> Light:
    to_d50 = adapt_to_d50(primaries.white) @ primaries.to_xyz()
    from_d50 = np.linalg.inv(adapt_to_d50(SRGB_PRIMARIES.white) @ SRGB_PRIMARIES.to_xyz())
    return (from_d50 @ to_d50).astype(np.float32)


def encode_srgb(light: Light) -> Light:
    """Values, 0 to 1, of linear light with the primaries of sRGB (IEC 61966-2-1); light beyond 0 to 1 is clipped."""
    linear = light.clip(0, 1)
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** np.float32(1 / 2.4) - 0.055)
