import numpy as np
import pytest

from service.imaging.codecs import Pixels
from service.imaging.codecs.cicp import PRIMARIES
from service.imaging.codecs.hdr import HdrColours, HdrTransfer, map_to_srgb
from service.imaging.codecs.icc import SRGB_PRIMARIES
from tests.service.imaging.codecs.samples import deep_photo

PQ, HLG = HdrColours(HdrTransfer.PQ, PRIMARIES[9]), HdrColours(HdrTransfer.HLG, PRIMARIES[9])


def pq(light: float) -> float:
    """The value of light in cd/m² (BT.2100, table 4)."""
    power = (light / 10_000) ** (2610 / 16_384)
    return float(((3424 / 4096 + 2413 / 128 * power) / (1 + 2392 / 128 * power)) ** (2523 / 32))


def shown(colours: HdrColours, *values: float) -> list[int]:
    """A colour of values 0 to 1, 8 bits of sRGB."""
    stored = np.rint(np.array(values).reshape(1, 1, 3) * 65_535).astype(np.uint16)
    return [int(value) for value in np.rint(map_to_srgb(stored, colours)[0, 0] / 257)]


def grey(colours: HdrColours, value: float) -> int:
    red, green, blue = shown(colours, value, value, value)
    assert max(red, green, blue) - min(red, green, blue) <= 1
    return green


@pytest.mark.parametrize(("light", "expected"), [(0, 0), (203 * 0.2140, 128), (203 * 0.4, 170)])
def test_dark_and_middle_tones_stay(light: float, expected: int) -> None:
    assert abs(grey(PQ, pq(light)) - expected) <= 1


def test_highlights_are_compressed() -> None:
    white = grey(PQ, pq(203))
    assert 215 <= white <= 240
    assert white < grey(PQ, pq(400)) < grey(PQ, pq(1000))
    assert grey(PQ, pq(1000)) == grey(PQ, 1.0) == 255


def test_hlg_is_as_bright_as_pq() -> None:
    assert abs(grey(HLG, 0.75) - grey(PQ, pq(203))) <= 1  # the reference white of both (BT.2408)
    assert grey(HLG, 0) == 0
    assert grey(HLG, 1) >= 254


def test_hues_of_bright_colours_stay() -> None:
    colours = HdrColours(HdrTransfer.PQ, SRGB_PRIMARIES)
    dark, bright = (np.array(shown(colours, pq(4 * k), pq(2 * k), pq(k))) for k in (10, 200))
    linear = [np.where(c <= 10, c / 255 / 12.92, ((c / 255 + 0.055) / 1.055) ** 2.4) for c in (dark, bright)]
    first, second = (light / light.max() for light in linear)
    assert np.allclose(first, second, atol=0.02)


def test_wide_gamut_is_converted() -> None:
    red, green, blue = shown(PQ, pq(60), pq(60), pq(20))
    assert red == pytest.approx(green, abs=12)
    assert blue < green


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_shape_and_type(dtype: type) -> None:
    pixels: Pixels = deep_photo(channels=3).astype(dtype)
    made = map_to_srgb(pixels, HLG)
    assert made.shape == pixels.shape
    assert made.dtype == dtype
    assert np.array_equal(map_to_srgb(pixels, HLG, band_values=100), made)
    assert map_to_srgb(pixels[..., 0], HLG).shape == pixels.shape
