"""Colour spaces: what the numbers of a picture mean.

A picture keeps the numbers of its file, and its answer the profile, wherever that is a space as even as sRGB with three
primaries of its own (Display P3, Adobe RGB, ProPhoto): nothing is clipped to sRGB on the way. An enlarging network
changes no colours and works on those numbers; a painting is made in sRGB, whose colours such spaces contain, and then
expressed in the photograph's. Everything else (CMYK, Lab, printers' and linear RGB) becomes sRGB when it is decoded.
"""

import io
import struct
from dataclasses import dataclass
from typing import cast

import imagecodecs
import numpy as np
from PIL import Image, ImageCms
from PIL.ImageCms import Flags, Intent

from service.photographs.pixels import Pixels

CREATED = slice(24, 36)
"""Where a profile says when it was made (ICC.1:2022, section 7.2.8)."""


def _timeless(profile: bytes) -> bytes:
    """As if it had been made with the first ICC specification: what two processes make is the same."""
    return profile[: CREATED.start] + struct.pack(">6H", 1994, 6, 1, 0, 0, 0) + profile[CREATED.stop :]


SRGB_PROFILE = _timeless(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
ADOBE_RGB_PROFILE = _timeless(bytes(imagecodecs.cms_profile("adobergb")))

EVEN = (90, 165)
"""In sRGB, what the middle of a scale that is about as even as sRGB's stands for: gamma 1.5 to 3.2."""

INTENT, FLAGS = Intent.RELATIVE_COLORIMETRIC, Flags.BLACKPOINTCOMPENSATION


@dataclass(frozen=True)
class ColourSpace:
    """sRGB, or the space of an ICC profile of three channels, or of one."""

    profile: bytes | None = None
    is_srgb: bool = True
    """Whether its numbers are sRGB's, whatever its profile is called."""
    is_grey: bool = False

    def to_srgb(self, pixels: Pixels) -> Pixels:
        """(H, W, 3) in this space, all channels equal where it is grey, as (H, W, 3) in sRGB."""
        if self.is_srgb or self.profile is None:
            return pixels
        if self.is_grey:
            return _transformed(pixels[..., 0], self.profile, SRGB_PROFILE, "gray")
        return _transformed(pixels, self.profile, SRGB_PROFILE, "rgb")

    def from_srgb(self, pixels: Pixels) -> Pixels:
        """(H, W, 3) in sRGB as (H, W, 3) in this space, which has colours."""
        if self.is_srgb or self.profile is None:
            return pixels
        return _transformed(pixels, SRGB_PROFILE, self.profile, "rgb")


SRGB = ColourSpace()
CONVERTED = ColourSpace(SRGB_PROFILE)
"""sRGB, and its file says so: pixels that were given in another space."""


def placed(pixels: Pixels, profile: bytes | None) -> tuple[Pixels, ColourSpace]:
    """(H, W, 3) or grey (H, W) whose file has that profile: the pixels that the service works on, and their space.

    Without a profile, or with one that is broken or of another kind of pixels, they are taken for sRGB.
    """
    if not profile:
        return pixels, SRGB
    is_grey = pixels.ndim == 2
    space = _space(profile, is_grey)
    if space is None:
        return _transformed(pixels, profile, SRGB_PROFILE, "gray" if is_grey else "rgb"), CONVERTED
    return pixels, space


def flattened(image: Image.Image, profile: bytes | None) -> Image.Image:
    """CMYK or Lab as RGB in sRGB: by its profile, else as best is known."""
    source = _parsed(profile) if profile else None
    if source is None and image.mode == "LAB":
        source = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB"))
    if source is not None:
        try:
            return _converted(image, source)
        except ImageCms.PyCMSError:  # a profile of other channels
            pass
    return image.convert("RGB")


def _converted(image: Image.Image, source: ImageCms.ImageCmsProfile) -> Image.Image:
    srgb = ImageCms.createProfile("sRGB")
    converted = ImageCms.profileToProfile(image, source, srgb, INTENT, "RGB", flags=FLAGS)
    return cast("Image.Image", converted)


def _space(profile: bytes, is_grey: bool) -> ColourSpace | None:
    """Of a profile for grey or for RGB; None where its numbers are of no use to a network."""
    parsed = _parsed(profile)
    if parsed is None or parsed.profile.xcolor_space != ("GRAY" if is_grey else "RGB "):
        return SRGB
    try:
        is_srgb, is_even = _looks(profile, is_grey)
    except imagecodecs.CmsError:  # it has a header, but not what it takes to use it
        return SRGB
    usable = is_even and (is_grey or parsed.profile.is_matrix_shaper)
    return ColourSpace(profile, is_srgb, is_grey) if usable else None


def _looks(profile: bytes, is_grey: bool) -> tuple[bool, bool]:
    """Whether a profile's numbers are sRGB's, to a level of 256, and whether their scale is about as even."""
    levels = np.arange(0, 257, 32).clip(max=255).astype(np.uint8)
    probe = np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(1, -1, 3)
    given = levels[None] if is_grey else probe
    seen = _transformed(given, profile, SRGB_PROFILE, "gray" if is_grey else "rgb").astype(int)
    own = np.stack([given] * 3, axis=-1) if is_grey else given
    middle = seen[(own == 128).all(axis=-1)].mean()
    return bool(np.abs(seen - own).max() <= 1), bool(EVEN[0] <= middle <= EVEN[1])


def _parsed(profile: bytes) -> ImageCms.ImageCmsProfile | None:
    try:
        return ImageCms.ImageCmsProfile(io.BytesIO(profile))
    except (ImageCms.PyCMSError, OSError, ValueError):
        return None


def _transformed(pixels: Pixels, source: bytes, target: bytes, channels: str) -> Pixels:
    given = np.ascontiguousarray(pixels)
    result: Pixels = imagecodecs.cms_transform(
        given, source, target, colorspace=channels, outcolorspace="rgb", intent=INTENT, flags=FLAGS
    )
    return result
