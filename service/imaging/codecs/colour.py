"""Colour spaces and ICC profiles.

A picture keeps its values, and its output the profile, wherever the profile is a matrix profile with a tone curve about
as uniform as sRGB's (Display P3, Adobe RGB, ProPhoto), so that no colour is clipped to sRGB. An upscaling network works
on those values directly. A stylized picture is made in sRGB, which such spaces contain, and then converted to the
photo's space. All else (CMYK, Lab, printer profiles, linear RGB, high dynamic range) is converted to sRGB when it is
decoded.
"""

import io
from dataclasses import dataclass
from functools import cache
from typing import cast

import imagecodecs
import numpy as np
from PIL import Image, ImageCms
from PIL.ImageCms import Flags, Intent

from service.imaging.codecs import lab
from service.imaging.codecs.hdr import HdrColours, map_to_srgb
from service.imaging.codecs.icc import FIXED_DATE
from service.imaging.pixels import Pixels, row_bands

CREATION_DATE = slice(24, 36)
"""The bytes of a profile's date and time of creation (ICC.1:2022, section 7.2.8)."""

UNIFORM_RANGE = (90, 165)
"""Levels of sRGB that 128 may stand for in a space that is kept: tone curves from about gamma 1.5 to gamma 3.2."""

MAX_ROUND_TRIP_ERROR = 8.0
"""The mean change, in levels of 256, of sRGB's colours on the way through a space that is kept: much smaller ones are
not."""

CONVERTED_SPACES = ("CMYK", "Lab ")
"""Spaces whose pixels are in sRGB before they are assigned one."""

INTENT, FLAGS = Intent.RELATIVE_COLORIMETRIC, Flags.BLACKPOINTCOMPENSATION


@cache
def srgb_profile() -> bytes:
    """An ICC profile of sRGB (IEC 61966-2-1), with a fixed date."""
    return _fix_date(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())


@cache
def adobe_rgb_profile() -> bytes:
    """An ICC profile of Adobe RGB (1998), with a fixed date."""
    return _fix_date(bytes(imagecodecs.cms_profile("adobergb")))


@cache
def lab_profile() -> bytes:
    """An ICC profile of CIELAB of D50, with a fixed date."""
    return _fix_date(ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes())


@dataclass(frozen=True)
class ColourSpace:
    """sRGB, or the space of an RGB or grey ICC profile."""

    profile: bytes | None = None
    is_srgb: bool = True
    """Whether values mean the same as in sRGB, whatever the profile is called."""
    is_grey: bool = False

    def to_srgb(self, pixels: Pixels) -> Pixels:
        """Convert (H, W, 3) to sRGB; in a grey space its channels are equal."""
        if self.is_srgb or self.profile is None:
            return pixels
        if self.is_grey:
            return _grey_to_srgb(pixels[..., 0], self.profile)
        return _rgb_to_srgb(pixels, self.profile)

    def from_srgb(self, pixels: Pixels) -> Pixels:
        """Convert (H, W, 3) from sRGB to this space, which must not be grey."""
        if self.is_srgb or self.profile is None:
            return pixels
        return _rgb_to_rgb(pixels, srgb_profile(), self.profile)


SRGB = ColourSpace()


@cache
def converted_srgb() -> ColourSpace:
    """sRGB with its profile, for pixels converted from another profile: as the input had one, the output gets one."""
    return ColourSpace(srgb_profile())


def assign_colour_space(pixels: Pixels, profile: bytes | HdrColours | None) -> tuple[Pixels, ColourSpace]:
    """The pixels to work on, and their space, for (H, W, 3) or grey (H, W) from a file with that profile.

    Pixels without a usable profile are taken for sRGB; those in a space that is not kept are converted to sRGB,
    (H, W, 3).
    """
    if not profile:
        return pixels, SRGB
    if isinstance(profile, HdrColours):
        return map_to_srgb(pixels, profile), converted_srgb()
    is_grey = pixels.ndim == 2
    space = _classify(profile, is_grey)
    if space is None:
        return (_grey_to_srgb if is_grey else _rgb_to_srgb)(pixels, profile), converted_srgb()
    return pixels, space


def flatten_to_rgb(image: Image.Image, profile: bytes | HdrColours | None) -> Image.Image:
    """Convert CMYK or Lab to sRGB by its profile; without a usable one by Pillow's formulas."""
    source = _parse(profile) if isinstance(profile, bytes) else None
    if source is None and image.mode == "LAB":
        source = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB"))
    if source is not None:
        try:
            return _convert(image, source)
        except ImageCms.PyCMSError:  # a profile of other channels
            pass
    return image.convert("RGB")


def cmyk_to_srgb(pixels: Pixels, profile: bytes | HdrColours | None) -> Pixels:
    """Convert CMYK, (H, W, 4) with full ink at the most, to sRGB by its profile; without a usable one by a formula."""
    if pixels.dtype == np.uint8:
        return np.asarray(flatten_to_rgb(Image.fromarray(pixels, "CMYK"), profile))
    converted = _convert_deep(pixels, profile, "cmyk")
    if converted is not None:
        return converted
    result = np.empty((*pixels.shape[:2], 3), np.uint16)
    for rows in row_bands(len(pixels), pixels[0].size):
        paper = (65_535 - pixels[rows]).astype(np.float32) / 65_535
        result[rows] = np.rint(paper[..., :3] * paper[..., 3:] * 65_535)
    return result


def lab_to_srgb(pixels: Pixels, profile: bytes | HdrColours | None, white: lab.White | None = None) -> Pixels:
    """Convert Lab, (H, W, 3), to sRGB by its profile; without a usable one by its white, or else by that of D50.

    Of uint16 the most is an L of 100, and 128 × 257 an a or b of 0 (ICC.1:2022, section 6.3.4); uint8 is the same in
    whole numbers.
    """
    if white is not None and not _is_profile_of(profile, "lab"):
        return lab.map_to_srgb(pixels, white)
    if pixels.dtype == np.uint8:
        signed = pixels ^ np.array([0, 128, 128], np.uint8)  # as Pillow wants it
        return np.asarray(flatten_to_rgb(Image.frombytes("LAB", pixels.shape[1::-1], signed.tobytes()), profile))
    converted = _convert_deep(pixels, profile, "lab")
    return _transform(pixels, lab_profile(), srgb_profile(), "lab") if converted is None else converted


def _convert_deep(pixels: Pixels, profile: bytes | HdrColours | None, colorspace: str) -> Pixels | None:
    """Convert to sRGB by a profile of that space; None without a usable one."""
    if not isinstance(profile, bytes) or not _is_profile_of(profile, colorspace):
        return None
    try:
        return _transform(pixels, profile, srgb_profile(), colorspace)
    except imagecodecs.CmsError:
        return None


def _is_profile_of(profile: bytes | HdrColours | None, colorspace: str) -> bool:
    """Whether it is a readable one of that space."""
    parsed = _parse(profile) if isinstance(profile, bytes) else None
    return parsed is not None and parsed.profile.xcolor_space.strip().lower() == colorspace


def _convert(image: Image.Image, source: ImageCms.ImageCmsProfile) -> Image.Image:
    srgb = ImageCms.createProfile("sRGB")
    converted = ImageCms.profileToProfile(image, source, srgb, INTENT, "RGB", flags=FLAGS)
    return cast("Image.Image", converted)


def _classify(profile: bytes, is_grey: bool) -> ColourSpace | None:
    """The space of a profile, sRGB for a broken one or one of other channels; None where it is not kept."""
    parsed = _parse(profile)
    if parsed is None or parsed.profile.xcolor_space != ("GRAY" if is_grey else "RGB "):
        return converted_srgb() if parsed and parsed.profile.xcolor_space in CONVERTED_SPACES else SRGB
    try:
        is_srgb, is_uniform = _probe(profile, is_grey)
    except imagecodecs.CmsError:  # a valid header, but not what a transform needs
        return SRGB
    kept = is_uniform and (is_grey or (parsed.profile.is_matrix_shaper and _contains_srgb(profile)))
    return ColourSpace(profile, is_srgb, is_grey) if kept else None


def _probe(profile: bytes, is_grey: bool) -> tuple[bool, bool]:
    """Whether values equal those of sRGB, to a level of 256, and whether the tone curve is about as uniform."""
    levels = np.arange(0, 257, 32).clip(max=255).astype(np.uint8)
    cube = np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(1, -1, 3)
    given = levels[None] if is_grey else cube
    converted = (_grey_to_srgb if is_grey else _rgb_to_srgb)(given, profile).astype(int)
    original = np.stack([given] * 3, axis=-1) if is_grey else given
    middle = converted[(original == 128).all(axis=-1)].mean()
    low, high = UNIFORM_RANGE
    return bool(np.abs(converted - original).max() <= 1), bool(low <= middle <= high)


def _contains_srgb(profile: bytes) -> bool:
    """Whether an RGB space has about all colours of sRGB, and can be converted to."""
    levels = np.arange(0, 257, 64).clip(max=255).astype(np.uint8)
    cube = np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(1, -1, 3)
    try:
        again = _rgb_to_srgb(_rgb_to_rgb(cube, srgb_profile(), profile), profile)
    except imagecodecs.CmsError:  # its matrix has no inverse
        return False
    return bool(np.abs(again.astype(int) - cube).mean() <= MAX_ROUND_TRIP_ERROR)


def _parse(profile: bytes) -> ImageCms.ImageCmsProfile | None:
    try:
        return ImageCms.ImageCmsProfile(io.BytesIO(profile))
    except (ImageCms.PyCMSError, OSError, ValueError):
        return None


def _fix_date(profile: bytes) -> bytes:
    return profile[: CREATION_DATE.start] + FIXED_DATE + profile[CREATION_DATE.stop :]


def _rgb_to_srgb(pixels: Pixels, profile: bytes) -> Pixels:
    """Convert (H, W, 3)."""
    return _rgb_to_rgb(pixels, profile, srgb_profile())


def _grey_to_srgb(pixels: Pixels, profile: bytes) -> Pixels:
    """Convert (H, W) to (H, W, 3), by a table of all levels.

    Little CMS by itself joins 33 levels by straight lines, which moves dark ones of linear light by 10 of 256.
    """
    levels = np.arange(np.iinfo(pixels.dtype).max + 1, dtype=pixels.dtype)
    table = _transform(levels[None], profile, srgb_profile(), "gray", exact=True)[0]
    result: Pixels = table[pixels]
    return result


def _rgb_to_rgb(pixels: Pixels, source: bytes, target: bytes) -> Pixels:
    """Convert (H, W, 3) between RGB spaces.

    Little CMS by itself has a table of 33 levels a channel for matrix profiles and 16 bits, which moves dark colours by
    7 levels of 256. For 8 bits it computes.
    """
    exact = pixels.dtype == np.uint16 and all(_is_matrix(profile) for profile in (source, target))
    return _transform(pixels, source, target, "rgb", exact=exact)


def _is_matrix(profile: bytes) -> bool:
    parsed = _parse(profile)
    return parsed is not None and bool(parsed.profile.is_matrix_shaper)


def _transform(pixels: Pixels, source: bytes, target: bytes, colorspace: str, *, exact: bool = False) -> Pixels:
    """Convert to RGB; `exact` computes every pixel, without a table that Little CMS makes of the profiles."""
    flags = FLAGS | Flags.NOOPTIMIZE if exact else FLAGS
    result: Pixels = imagecodecs.cms_transform(
        np.ascontiguousarray(pixels),
        source,
        target,
        colorspace=colorspace,
        outcolorspace="rgb",
        intent=INTENT,
        flags=flags,
    )
    return result
