import io

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageCms

from service.imaging.codecs import Pixels
from service.imaging.codecs.colour import (
    SRGB,
    ColourSpace,
    adobe_rgb_profile,
    assign_colour_space,
    converted_srgb,
    flatten_to_rgb,
    srgb_profile,
)
from service.imaging.codecs.hdr import HdrColours, HdrTransfer
from service.imaging.codecs.icc import SRGB_PRIMARIES, build_rgb_profile
from tests.service.imaging.codecs.samples import DISPLAY_P3, PROPHOTO, adobe_rgb, deep_photo, grey_profile, rgb_profile
from tests.service.imaging.images import photo

WIDE = {"Display P3": rgb_profile(DISPLAY_P3), "Adobe RGB": adobe_rgb(), "ProPhoto": rgb_profile(PROPHOTO, 1.8)}


ADOBE_RGB = (0.64, 0.33, 1.0, 0.21, 0.71, 1.0, 0.15, 0.06, 1.0)

DEEP_ERROR = 64
"""Of 65 535: a quarter of a level of 256."""


@pytest.mark.parametrize("name", WIDE)
@pytest.mark.parametrize("picture", [photo(), deep_photo()])
def test_wide_gamut_keeps_values_and_profile(name: str, picture: Pixels) -> None:
    pixels, space = assign_colour_space(picture, WIDE[name])
    assert pixels is picture
    assert (space.profile, space.is_srgb, space.is_grey) == (WIDE[name], False, False)


@pytest.mark.parametrize("name", WIDE)
@pytest.mark.parametrize("picture", [photo(), deep_photo()])
def test_srgb_survives_conversion_to_a_wide_gamut_and_back(name: str, picture: Pixels) -> None:
    _, space = assign_colour_space(picture, WIDE[name])
    given = space.from_srgb(picture)
    again = space.to_srgb(given)
    assert given.dtype == again.dtype == picture.dtype
    assert not np.array_equal(given, picture)
    most = {"uint8": 1, "uint16": 64}[picture.dtype.name]  # a level of 256, or a quarter of it
    assert np.abs(again.astype(int) - picture).mean() < most


def test_wide_gamut_is_converted_to_srgb_by_its_profile(wide_gamut: bytes) -> None:
    picture: Pixels = np.full((4, 4, 3), (100, 200, 100), np.uint8)
    _, space = assign_colour_space(picture, wide_gamut)
    red, green, blue = (int(value) for value in space.to_srgb(picture)[0, 0])
    assert red < 90  # the same green, which lies outside sRGB, has less red in sRGB's numbers
    assert green >= 200
    assert blue < 110


def test_own_profiles_have_a_fixed_date() -> None:
    for profile in (srgb_profile(), adobe_rgb_profile()):
        assert profile[24:36] == bytes.fromhex("07ca00060001000000000000")
        assert ImageCms.ImageCmsProfile(io.BytesIO(profile)).profile.is_matrix_shaper


def test_profile_of_srgb_is_kept_and_changes_nothing() -> None:
    pixels, space = assign_colour_space(photo(), srgb_profile())
    assert space.is_srgb
    assert space.profile == srgb_profile()
    assert space.to_srgb(pixels) is pixels
    assert space.from_srgb(pixels) is pixels


@pytest.mark.parametrize(
    "profile", [b"no profile at all", bytes(128), srgb_profile()[:200], grey_profile(2.2), None, b""]
)
def test_unusable_profile_is_ignored(profile: bytes | None) -> None:
    pixels, space = assign_colour_space(photo(), profile)
    assert space is SRGB
    assert np.array_equal(pixels, photo())


def replace_column(profile: bytes, column: bytes, other: bytes) -> bytes:
    """The profile with one column of its matrix in place of another."""
    places = {profile[at : at + 4]: int.from_bytes(profile[at + 4 : at + 8]) for at in range(132, 260, 12)}
    data = profile[places[other] : places[other] + 20]
    return profile[: places[column]] + data + profile[places[column] + 20 :]


def test_space_whose_matrix_has_no_inverse_is_converted() -> None:
    singular = replace_column(rgb_profile(DISPLAY_P3), b"bXYZ", b"rXYZ")
    pixels, space = assign_colour_space(photo(), singular)
    assert space is converted_srgb()
    assert not np.array_equal(pixels, photo())


@pytest.mark.parametrize("blue", [(0.45, 0.45), (0.4, 0.42), (0.35, 0.35)])
def test_space_that_lacks_most_of_srgb_is_converted(blue: tuple[float, float]) -> None:
    pixels, space = assign_colour_space(photo(), rgb_profile((0.64, 0.33, 1.0, 0.30, 0.60, 1.0, *blue, 1.0)))
    assert space in (converted_srgb(), SRGB)
    assert space.from_srgb(pixels) is pixels


def test_high_dynamic_range_is_converted() -> None:
    colours = HdrColours(HdrTransfer.HLG, SRGB_PRIMARIES)
    for given in (photo(), deep_photo(), photo()[..., 0]):
        pixels, space = assign_colour_space(given, colours)
        assert space is converted_srgb()
        assert (pixels.shape[2:], pixels.dtype) == ((3,), given.dtype)


def test_linear_rgb_is_converted_to_srgb() -> None:
    pixels, space = assign_colour_space(photo(), rgb_profile(DISPLAY_P3, 1.0))
    assert space is converted_srgb()
    assert pixels.mean() > photo().mean() + 20


def test_grey_space_is_kept() -> None:
    grey = photo()[..., 0]
    pixels, space = assign_colour_space(grey, grey_profile(1.8))
    assert pixels is grey
    assert space.is_grey
    assert not space.is_srgb
    shown = space.to_srgb(np.stack([grey] * 3, axis=-1))
    expected = 255 * _srgb((grey / 255) ** 1.8)
    assert np.abs(shown - expected[..., None]).max() <= 1
    assert assign_colour_space(grey, srgb_profile())[1] is SRGB  # a profile of three channels for one


def test_linear_grey_is_converted_to_srgb() -> None:
    grey = photo()[..., 0]
    pixels, space = assign_colour_space(grey, grey_profile(1.0))
    assert space is converted_srgb()
    assert np.abs(pixels[..., 0] - 255 * _srgb(grey / 255)).mean() <= 1


@pytest.mark.parametrize("gamma", [0.45, 1.0, 2.2])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_every_level_of_grey_is_converted_exactly(dtype: type[np.unsignedinteger], gamma: float) -> None:
    most = int(np.iinfo(dtype).max)
    levels = np.arange(most + 1, dtype=dtype)[None]
    pixels, space = assign_colour_space(levels, grey_profile(gamma))
    shown = pixels if pixels.ndim == 3 else space.to_srgb(np.stack([levels] * 3, axis=-1))
    expected = 255 * _srgb((levels / most) ** gamma)
    assert np.abs(shown * (255 / most) - expected[..., None]).max() <= 1


@pytest.mark.parametrize(("primaries", "gamma"), [(ADOBE_RGB, 563 / 256), (DISPLAY_P3, 2.2), (PROPHOTO, 1.8)])
@pytest.mark.parametrize("levels", [np.arange(0, 4096, 7), np.arange(0, 65_536, 97)])
def test_deep_greys_are_converted_exactly(
    primaries: tuple[float, ...], gamma: float, levels: NDArray[np.int64]
) -> None:
    """Greys are the same mixture in every space, so that a tone curve alone says what they become."""
    given = np.stack([levels.astype(np.uint16)] * 3, axis=-1)[None]
    space = ColourSpace(rgb_profile(primaries, gamma), is_srgb=False)
    to_srgb, from_srgb = _srgb((levels / 65_535) ** gamma), _linear(levels / 65_535) ** (1 / gamma)
    assert np.abs(space.to_srgb(given) - 65_535 * to_srgb[:, None]).max() < DEEP_ERROR
    assert np.abs(space.from_srgb(given) - 65_535 * from_srgb[:, None]).max() < DEEP_ERROR


@pytest.mark.parametrize("profile", [adobe_rgb(), rgb_profile(PROPHOTO, 1.8)])
def test_deep_dark_colours_survive_conversion_and_back(profile: bytes) -> None:
    dark = np.random.default_rng(0).integers(0, 4096, (40, 40, 3)).astype(np.uint16)
    space = ColourSpace(profile, is_srgb=False)
    again = space.to_srgb(space.from_srgb(dark))
    assert np.abs(again.astype(int) - dark).max() < DEEP_ERROR


def test_deep_linear_rgb_is_converted_exactly() -> None:
    dark = np.random.default_rng(0).integers(0, 4096, (40, 40, 3)).astype(np.uint16)
    pixels, _ = assign_colour_space(dark, build_rgb_profile("linear", SRGB_PRIMARIES, (1.0,)))
    assert np.abs(pixels - 65_535 * _srgb(dark / 65_535)).max() < DEEP_ERROR


def test_cmyk_and_lab_are_flattened() -> None:
    cyan = flatten_to_rgb(Image.new("CMYK", (1, 1), (255, 0, 0, 0)), None)
    assert cyan.getpixel((0, 0)) == (0, 255, 255)
    assert flatten_to_rgb(Image.new("CMYK", (1, 1), (255, 0, 0, 0)), srgb_profile()).getpixel((0, 0)) == (0, 255, 255)
    red = np.asarray(flatten_to_rgb(Image.new("LAB", (1, 1), (136, 208, 195)), None))[
        0, 0
    ]  # L 53.2, a 80, b 67: sRGB's red
    assert np.abs(red.astype(int) - (255, 0, 0)).max() <= 12


def _srgb(linear: np.ndarray) -> np.ndarray:
    """IEC 61966-2-1."""
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


def _linear(stored: np.ndarray) -> np.ndarray:
    """IEC 61966-2-1."""
    return np.where(stored <= 0.04045, stored / 12.92, ((stored + 0.055) / 1.055) ** 2.4)
