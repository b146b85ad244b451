import numpy as np
import pytest
from numpy.typing import NDArray

from service.imaging.codecs import Pixels
from service.imaging.codecs.colour import lab_profile
from service.imaging.codecs.lab import is_d50, is_usable, map_to_srgb
from tests.service.imaging.codecs.samples import deep_photo, picture, psnr, tiff

D65, D50 = (0.3127, 0.3290), (0.3457, 0.3585)
TO_XYZ = [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
"""Of linear sRGB, under D65."""


def lab_under_d65(srgb: Pixels) -> NDArray[np.float64]:
    """L, a and b by the formulas of CIELab."""
    values = srgb / 65_535
    linear = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    shares = linear @ np.array(TO_XYZ).T / [0.95047, 1, 1.08883]
    x, y, z = np.moveaxis(
        np.where(shares > (6 / 29) ** 3, np.cbrt(shares), shares / (3 * (6 / 29) ** 2) + 4 / 29), -1, 0
    )
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)


def lab_tiff(lab: NDArray[np.float64], bits: int, white: tuple[float, float] | None, **options: object) -> bytes:
    """CIELab of signed a and b, with a tag of its white."""
    full, unit = (255, 1) if bits == 8 else (65_535, 256)
    stored = np.rint(np.dstack([lab[..., 0] * full / 100, lab[..., 1:] * unit])).astype(np.int32)
    numbers = () if white is None else tuple(part for one in white for part in (round(one * 10_000), 10_000))
    tags = [(318, 5, 2, numbers, True)] if numbers else []
    return tiff(stored.astype(np.uint8 if bits == 8 else np.uint16), photometric="cielab", extratags=tags, **options)


@pytest.mark.parametrize(("bits", "least"), [(8, 36), (16, 60)])
def test_lab_under_another_white_is_what_it_was_made_of(bits: int, least: float) -> None:
    srgb = deep_photo()
    shown = picture(lab_tiff(lab_under_d65(srgb), bits, D65), keep_16_bit=True).pixels
    assert shown.dtype == (np.uint8 if bits == 8 else np.uint16)
    assert psnr(shown if bits == 8 else shown // 257, srgb // 257) > least


@pytest.mark.parametrize("white", [D50, (0.0, 0.0), (0.9, 0.9)])
def test_other_whites_count_as_none(white: tuple[float, float]) -> None:
    lab = lab_under_d65(deep_photo())
    assert np.array_equal(picture(lab_tiff(lab, 8, white)).pixels, picture(lab_tiff(lab, 8, None)).pixels)


def test_a_profile_comes_before_the_white() -> None:
    lab = lab_under_d65(deep_photo())
    with_profile = lab_tiff(lab, 16, D65, iccprofile=lab_profile())
    assert np.array_equal(picture(with_profile).pixels, picture(lab_tiff(lab, 16, None)).pixels)


def test_bands_make_no_difference() -> None:
    pixels = deep_photo()
    assert np.array_equal(map_to_srgb(pixels, D65), map_to_srgb(pixels, D65, band_values=100))


def test_whites_are_told_apart() -> None:
    assert is_usable(D65)
    assert is_d50(D50)
    assert not is_d50(D65)
    assert not any(is_usable(white) for white in [(0.0, 0.5), (0.3, 0.0), (0.6, 0.5)])
