import io

import imagecodecs
import numpy as np
import pytest
from PIL import ImageCms

from service.imaging.codecs.icc import (
    D50,
    FIXED_DATE,
    SRGB_PRIMARIES,
    Primaries,
    adapt_to_d50,
    build_grey_profile,
    build_rgb_profile,
)


def test_rgb_profile_is_a_matrix_profile() -> None:
    profile = build_rgb_profile("test", SRGB_PRIMARIES, (2.2,))
    parsed = ImageCms.ImageCmsProfile(io.BytesIO(profile)).profile
    assert (parsed.xcolor_space, parsed.is_matrix_shaper, parsed.profile_description) == ("RGB ", True, "test")
    assert int.from_bytes(profile[:4]) == len(profile)
    assert profile[24:36] == FIXED_DATE


def test_srgb_in_our_words_is_that_of_little_cms() -> None:
    curve = (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)
    made = build_rgb_profile("sRGB", SRGB_PRIMARIES, curve)
    theirs = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)
    converted = imagecodecs.cms_transform(pixels, made, theirs, colorspace="rgb", outcolorspace="rgb")
    assert np.abs(converted.astype(int) - pixels).max() <= 1


def test_grey_profile() -> None:
    parsed = ImageCms.ImageCmsProfile(io.BytesIO(build_grey_profile("grey", (1.8,)))).profile
    assert parsed.xcolor_space == "GRAY"


def test_white_becomes_d50() -> None:
    white = (0.3127, 0.3290)
    xyz = SRGB_PRIMARIES.to_xyz() @ np.ones(3)
    assert np.allclose(xyz, (0.3127 / 0.3290, 1, 0.3583 / 0.3290), atol=1e-4)
    assert np.allclose(adapt_to_d50(white) @ xyz, D50, atol=1e-4)


@pytest.mark.parametrize("point", [(0.3, 0.6), (0.64, 0.33)])
def test_primaries_on_a_line_are_refused(point: tuple[float, float]) -> None:
    flat = Primaries((0.64, 0.33), (0.3, 0.6), point, (0.3127, 0.3290))
    with pytest.raises(ValueError, match="on a line"):
        build_rgb_profile("flat", flat, (1.0,))


def test_numbers_out_of_range_are_refused() -> None:
    with pytest.raises(ValueError, match="too large"):
        build_grey_profile("grey", (40_000.0,))
