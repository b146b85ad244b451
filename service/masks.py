"""Where a photograph is painted and where it stays: a grey picture, white where it is painted."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from service.blending import LUMA, Opacity
from service.errors import InvalidRequest, ServiceError
from service.photographs import Header, Picture, Pixels, decode, inspect
from service.resampling import TRIANGLE, Floats, Resampling, bands, gaussian, resized
from service.sizes import Size

FINE_DEVIATION = 4.0
"""Pixels of standard deviation from which a blurred mask is as smooth in a smaller size, where blurring is cheap."""


@dataclass(frozen=True)
class Mask:
    """A plane (H, W, 1), uint8 or uint16, of any size and the photograph's aspect."""

    plane: Pixels

    @classmethod
    def decoded(cls, data: bytes) -> "Mask":
        """That of a file which `inspected` has accepted; raises CorruptImage."""
        with _of_the_mask():
            return cls.of(next(decode(data).pictures))

    @classmethod
    def of(cls, picture: Picture) -> "Mask":
        """The luma of a picture; what is transparent in it is black."""
        shape, kind = picture.pixels.shape[:2], picture.pixels.dtype
        plane: Pixels = np.empty((*shape, 1), kind)
        most = np.float32(np.iinfo(kind).max)
        for begin, end in bands(shape[0], picture.pixels[0].size):
            luma = picture.pixels[begin:end].astype(np.float32) @ LUMA
            shown = 1.0 if picture.alpha is None else picture.alpha[begin:end] / most
            plane[begin:end, :, 0] = np.rint(luma * shown)
        return cls(plane)

    def opacity(self, height: int, width: int, feather: float, strength: float) -> Opacity:
        """The mask over a picture of that size, its edges softened by a Gaussian, σ = feather / 2 pixels there."""
        plane = self._feathered(feather / 2 * len(self.plane) / height)
        resampling = Resampling((plane.shape[0], plane.shape[1]), (height, width), TRIANGLE)
        most = np.float32(np.iinfo(plane.dtype).max / strength) if strength else np.float32(np.inf)

        def band(begin: int, end: int) -> Floats:
            return resampling.band(plane, begin, end) / most

        return band

    def _feathered(self, deviation: float) -> Pixels:
        """The mask, blurred by so many of its own pixels; smaller where that is enough."""
        if deviation < 1 / FINE_DEVIATION:
            return self.plane
        factor = max(1.0, deviation / FINE_DEVIATION)
        height, width = (max(1, round(side / factor)) for side in self.plane.shape[:2])
        small = resized(self.plane, height, width, TRIANGLE)
        return _blurred(small, deviation / factor)


def inspected(data: bytes, photo: Size) -> Header:
    """The header of a mask for a photograph of that size, upright; raises as photographs do, and InvalidRequest."""
    with _of_the_mask():
        header = inspect(data)
    size = Size(*header.upright)
    if header.frames > 1:
        raise InvalidRequest(f"the mask has {header.frames} frames; send one of one frame")
    if not (_rounded_to(size, photo) or _rounded_to(photo, size)):
        raise InvalidRequest(
            f"the mask is {size}, and the image, upright, {photo}; send a mask of its orientation and aspect (to a "
            "pixel), in any size"
        )
    return header


def _rounded_to(one: Size, other: Size) -> bool:
    """Whether one has the aspect of the other, to a pixel of a side."""
    width, height = one.height * other.width / other.height, one.width * other.height / other.width
    return min(abs(one.width - width), abs(one.height - height)) <= 1


@contextmanager
def _of_the_mask() -> Iterator[None]:
    """Failures in the block are said to be the mask's, which the client would else look for in the image."""
    try:
        yield
    except ServiceError as error:
        raise type(error)(f"the mask: {error.detail}", headers=error.headers, **error.members) from error


def _blurred(plane: Pixels, deviation: float) -> Pixels:
    sides = plane.shape[0], plane.shape[1]
    blur = Resampling(sides, sides, gaussian(deviation))
    result = np.empty_like(plane)
    for begin, end in bands(sides[0], sides[1]):
        result[begin:end] = np.rint(blur.band(plane, begin, end))
    return result
