"""Limits on the sizes of inputs and outputs."""

from dataclasses import dataclass

from service.errors import ImageTooLarge
from service.imaging.codecs.formats import ImageFormat
from service.imaging.codecs.header import ImageHeader


@dataclass(frozen=True)
class ImageLimits:
    """The largest accepted images, in pixels (width × height, summed over all frames) where nothing else is said."""

    max_pixels: int
    """Of an input image."""
    max_output_pixels: int
    max_whole_pixels: int
    """Of a frame that a network gets whole, because it cannot be cut into tiles."""
    max_frames: int
    max_queue_pixels: int
    """Of everything that is computed for one output."""
    max_queue_inferences: int
    """Inference requests for one output: one for each frame and network."""

    def check_input(self, header: ImageHeader) -> None:
        """Raise ImageTooLarge where an input has too many frames or pixels."""
        _check("max_frames", header.frames, self.max_frames, "frames")
        _check("max_pixels", header.pixels, self.max_pixels, f"pixels in the input{_of_frames(header.frames)}")

    def check_pass(self, pixels: int, *, whole: bool, share: float = 1.0) -> None:
        """Raise ImageTooLarge where the input of a network that gets it whole has too many pixels.

        `share`: of the pixels that are accepted, where the network takes more memory for each than most.
        """
        if whole:
            _check("max_whole_pixels", pixels, int(self.max_whole_pixels * share), "pixels in the input of this model")

    def check_result(self, pixels: int, frames: int = 1) -> None:
        """Raise ImageTooLarge where a network's output or the answer has too many pixels; `pixels` is per frame."""
        what = f"pixels in the output{_of_frames(frames)}"
        _check("max_output_pixels", pixels * frames, self.max_output_pixels, what)

    def check_side(self, side: int, output: ImageFormat) -> None:
        """Raise ImageTooLarge where a side is longer than the format supports."""
        _check(f"{output}_side", side, output.max_side, f"pixels on a side of a {output} image")

    def check_work(self, pixels: int) -> None:
        """Raise ImageTooLarge where all networks together compute more pixels than the queue ever admits."""
        _check("max_queue_pixels", pixels, self.max_queue_pixels, "pixels in the pictures on the way to the output")

    def check_inferences(self, frames: int, networks: int) -> None:
        """Raise ImageTooLarge where an image needs more inference requests than the queue ever admits."""
        what = f"inference requests for {frames} frames and {networks} networks"
        _check("max_queue_inferences", frames * networks, self.max_queue_inferences, what)


def _of_frames(frames: int) -> str:
    return f" of {frames} frames" if frames > 1 else ""


def _check(limit: str, actual: int, accepted: int, what: str) -> None:
    if actual > accepted:
        detail = f"{actual} {what} exceed the {accepted} that are accepted"
        raise ImageTooLarge(detail, limit=limit, actual=actual, max_accepted=accepted)
