"""How large a photograph may be."""

from dataclasses import dataclass

from service.errors import ImageTooLarge
from service.photographs.formats import ImageFormat
from service.photographs.header import Header


@dataclass(frozen=True)
class Limits:
    """Largest images, in pixels (width × height) of all their frames."""

    max_pixels: int
    max_output_pixels: int
    max_whole_pixels: int
    """Of an input, or of each of its frames, that cannot be cut into tiles."""
    max_frames: int
    max_queue_pixels: int
    """Of everything that is made for one answer."""

    def check_input(self, header: Header) -> None:
        """Raise ImageTooLarge where the image as it comes exceeds a limit."""
        _check("max_frames", header.frames, self.max_frames, "frames")
        _check("max_pixels", header.pixels, self.max_pixels, f"pixels in the input{_of_all(header.frames)}")

    def check_pass(self, pixels: int, *, tileable: bool) -> None:
        """Raise ImageTooLarge where a network may not be given a picture of so many pixels."""
        if not tileable:
            _check("max_whole_pixels", pixels, self.max_whole_pixels, "pixels in the input of this model")

    def check_result(self, pixels: int, frames: int = 1) -> None:
        """Raise ImageTooLarge where a network's result, or an answer, may not have so many pixels in each frame."""
        what = f"pixels in the output{_of_all(frames)}"
        _check("max_output_pixels", pixels * frames, self.max_output_pixels, what)

    def check_side(self, side: int, output: ImageFormat) -> None:
        """Raise ImageTooLarge where a file of that format has no place for so long a side."""
        _check(f"{output}_side", side, output.largest_side, f"pixels on a side of a {output} image")

    def check_work(self, pixels: int) -> None:
        """Raise ImageTooLarge where all pictures on the way together have more pixels than are ever admitted."""
        _check("max_queue_pixels", pixels, self.max_queue_pixels, "pixels in the pictures on the way to the output")


def _of_all(frames: int) -> str:
    return f" of {frames} frames" if frames > 1 else ""


def _check(limit: str, actual: int, accepted: int, what: str) -> None:
    if actual > accepted:
        detail = f"{actual} {what} exceed the {accepted} that are accepted"
        raise ImageTooLarge(detail, limit=limit, actual=actual, max_accepted=accepted)
