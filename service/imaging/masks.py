"""Masks: grey pictures, white where a photo is stylized and black where it stays."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from service.errors import InvalidRequest, ServiceError
from service.imaging.blending import LUMA_BT709, Opacity
from service.imaging.codecs import ImageHeader, Picture, decode, inspect
from service.imaging.pixels import BAND_VALUES, Pixels, row_bands
from service.imaging.resampling import OUTPUT_BLOCK, TRIANGLE, Floats, Resampler, gaussian, resize
from service.imaging.sizes import Size

MAX_BLUR_DEVIATION = 4.0
"""Standard deviation in pixels above which a mask is reduced before it is blurred: as smooth, and cheaper."""


class MaskMeaning(StrEnum):
    """What of a mask is painted."""

    WHITE = "white"
    """Its luma times its alpha."""
    TRANSPARENT = "transparent"
    """What is missing from its alpha, as OpenAI's clients mean it."""
    OWN = "own"
    """There is no mask: what is missing from the photo's own alpha, which is opaque afterwards."""


@dataclass(frozen=True)
class Mask:
    """A plane (H, W, 1), uint8 or uint16, of any size and the photo's aspect ratio."""

    plane: Pixels

    @classmethod
    def decode(cls, data: bytes, meaning: MaskMeaning = MaskMeaning.WHITE) -> "Mask":
        """Decode a file that `inspect_mask` has accepted. Raises CorruptImage."""
        with _prefix_errors():
            picture = next(decode(data).pictures)
        return cls.from_picture(picture) if meaning is MaskMeaning.WHITE else cls.from_holes(picture)

    @classmethod
    def from_picture(cls, picture: Picture) -> "Mask":
        """The luma of a picture times its alpha: transparent pixels are black."""
        shape, dtype = picture.pixels.shape[:2], picture.pixels.dtype
        plane: Pixels = np.empty((*shape, 1), dtype)
        white = np.float32(np.iinfo(dtype).max)
        for rows in row_bands(shape[0], picture.pixels[0].size, OUTPUT_BLOCK):
            luma = picture.pixels[rows].astype(np.float32) @ LUMA_BT709
            alpha = 1.0 if picture.alpha is None else picture.alpha[rows] / white
            plane[rows, :, 0] = np.rint(luma * alpha)
        return cls(plane)

    @classmethod
    def from_holes(cls, picture: Picture) -> "Mask":
        """White where a picture is transparent, black where it is opaque."""
        if picture.alpha is None:
            return cls(np.zeros((*picture.pixels.shape[:2], 1), np.uint8))
        return cls(np.iinfo(picture.alpha.dtype).max - picture.alpha[..., None])

    def opacity(
        self, height: int, width: int, feather: float, strength: float, *, band_values: int = BAND_VALUES
    ) -> Opacity:
        """The mask times `strength`, for a picture of that size.

        Its edges are blurred by a Gaussian with σ = feather / 2, in pixels of that picture.
        """
        plane = self._feather(feather / 2 * len(self.plane) / height, band_values)
        resampler = Resampler((plane.shape[0], plane.shape[1]), (height, width), TRIANGLE)
        scale = np.float32(np.iinfo(plane.dtype).max / strength) if strength else np.float32(np.inf)

        def compute_rows(begin: int, end: int) -> Floats:
            return resampler.resample_rows(plane, slice(begin, end)) / scale

        return compute_rows

    def _feather(self, deviation: float, band_values: int) -> Pixels:
        """The plane blurred by a standard deviation in its own pixels; smaller than before where the blur is wide."""
        if deviation < 1 / MAX_BLUR_DEVIATION:
            return self.plane
        factor = max(1.0, deviation / MAX_BLUR_DEVIATION)
        height, width = (max(1, round(side / factor)) for side in self.plane.shape[:2])
        small = resize(self.plane, height, width, TRIANGLE, band_values=band_values)
        return _blur(small, deviation / factor, band_values)


def inspect_mask(data: bytes, photo: Size, meaning: MaskMeaning = MaskMeaning.WHITE) -> ImageHeader:
    """The header of a mask for a photo of that upright size.

    Raises what `inspect` raises, and InvalidRequest where the mask is animated or has another aspect ratio; where
    transparency is meant, also where it has none, or another size.
    """
    with _prefix_errors():
        header = inspect(data)
    size = Size(*header.upright_size)
    if header.frames > 1:
        raise InvalidRequest(f"the mask has {header.frames} frames; send one of one frame", param="mask")
    if meaning is MaskMeaning.TRANSPARENT and not header.has_alpha:
        detail = "the mask has no alpha channel; send a PNG that is transparent where the image is to be edited"
        raise InvalidRequest(detail, param="mask")
    if meaning is MaskMeaning.TRANSPARENT and size != photo:
        detail = f"the mask is {size}, and the image, upright, {photo}; send a mask of that size"
        raise InvalidRequest(detail, param="mask")
    if not (_matches_aspect(size, photo) or _matches_aspect(photo, size)):
        raise InvalidRequest(
            f"the mask is {size}, and the image, upright, {photo}; send a mask of its orientation and aspect (to a "
            "pixel), in any size"
        )
    return header


def _matches_aspect(size: Size, other: Size) -> bool:
    """Whether a side of `size` is within a pixel of what the aspect ratio of `other` gives for it."""
    width, height = size.height * other.width / other.height, size.width * other.height / other.width
    return min(abs(size.width - width), abs(size.height - height)) <= 1


@contextmanager
def _prefix_errors() -> Iterator[None]:
    """Begin the detail of every ServiceError with "the mask": a client would look for the fault in the photo."""
    try:
        yield
    except ServiceError as error:
        raise error.copy(f"the mask: {error.detail}") from error


def _blur(plane: Pixels, deviation: float, band_values: int) -> Pixels:
    height, width, _ = plane.shape
    blur = Resampler((height, width), (height, width), gaussian(deviation))
    result = np.empty_like(plane)
    for rows in row_bands(height, width, OUTPUT_BLOCK, band_values):
        result[rows] = np.rint(blur.resample_rows(plane, rows))
    return result
