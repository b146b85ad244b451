"""The pixels of a photo before it is stylized, and of its answer afterwards."""

from collections.abc import Sequence
from dataclasses import dataclass

from service.imaging.blending import Opacity, blend, mix, transfer_colour
from service.imaging.codecs import Picture, Pixels
from service.imaging.frame_transform import Frame
from service.imaging.masks import Mask
from service.imaging.resampling import resize
from service.imaging.sizes import Size


@dataclass(frozen=True)
class StyleTransform:
    """See `FrameTransform`."""

    stylized: Size
    """What the networks get."""
    answer: Size
    weights: tuple[float, ...]
    """Of the networks' outputs, in their order; their sum is 1."""
    strength: float = 1.0
    """The opacity of the mixture over the photo, 0 to 1."""
    preserve_color: bool = False
    feather: float = 0.0
    """Pixels of the answer over which the edges of the mask are softened."""

    def preprocess(self, frame: Frame) -> Pixels:
        """The photo at the size that is stylized, in sRGB."""
        return frame.space.to_srgb(resize(frame.picture.pixels, *self.stylized))

    def needs_photo(self, frame: Frame) -> bool:
        """Where its colours or a part of it are seen."""
        return self.preserve_color or self.strength < 1 or frame.mask is not None

    def postprocess(self, frame: Frame, outputs: Sequence[Pixels]) -> Picture:
        """The outputs mixed, resized, in the photo's colour space, and blended over the photo."""
        picture, opacity = frame.picture, self._opacity(frame.mask)
        stylized = frame.space.from_srgb(resize(mix(outputs, self.weights), *self.answer))
        if not self.preserve_color and opacity is None:
            return picture.with_pixels(stylized)
        photo = resize(picture.pixels, *self.answer)
        if self.preserve_color:
            stylized = transfer_colour(photo, stylized)
        return picture.with_pixels(stylized if opacity is None else blend(photo, stylized, opacity))

    def _opacity(self, mask: Mask | None) -> Opacity | None:
        """None where the result covers the photo completely."""
        if mask is not None:
            return mask.opacity(*self.answer, self.feather, self.strength)
        return None if self.strength == 1 else lambda _begin, _end: self.strength
