"""The pixels of a picture before it is enlarged, and of its answer afterwards."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from service.imaging.back_projection import back_project
from service.imaging.blending import mix
from service.imaging.codecs import Picture, Pixels
from service.imaging.frame_transform import Frame
from service.imaging.resampling import resize
from service.imaging.sizes import Framing, Size


@dataclass(frozen=True)
class UpscaleTransform:
    """See `FrameTransform`."""

    enlarged: Size
    """The picture times its scale, which a chain of networks may exceed."""
    framing: Framing
    """How the enlarged picture becomes the answer."""
    back_projection: bool = True
    """Whether the colours of the networks are corrected by those of the picture."""
    weights: tuple[float, ...] = ()
    """Of the outputs, which are mixed; empty for a chain, whose last one is all there is."""

    def preprocess(self, frame: Frame) -> Pixels:
        """The pixels as they are, in their own colour space: an enlargement changes no colours."""
        return frame.picture.pixels

    def needs_photo(self, _frame: Frame) -> bool:
        """Back-projection compares the output with it."""
        return self.back_projection

    def postprocess(self, frame: Frame, outputs: Sequence[Pixels]) -> Picture:
        """The output, reduced to the scale, with the colours of the picture, in the size that was asked for.

        Colours are corrected after the reduction, which would shift them again (×1.5 on photographs: the difference is
        0.13 levels rather than 0.25).
        """
        output = mix(outputs, self.weights) if self.weights else outputs[-1]
        picture, enlarged = frame.picture, resize(output, *self.enlarged)
        if self.back_projection:
            back_project(enlarged, picture.pixels)
        whole = picture.with_pixels(resize(enlarged, *self.framing.resized))
        return whole if self.framing.resized == self.framing.answer else _crop(whole, self.framing)


def _crop(picture: Picture, framing: Framing) -> Picture:
    top, left = framing.corner
    part = slice(top, top + framing.answer.height), slice(left, left + framing.answer.width)
    alpha = None if picture.alpha is None else picture.alpha[part]
    return replace(picture, pixels=picture.pixels[part], alpha=alpha)
