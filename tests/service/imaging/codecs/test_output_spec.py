import pytest

from service.errors import InvalidRequest, NotAcceptable
from service.imaging.codecs import ImageFormat, ImageHeader, OutputSpec

JPEG, PNG, WEBP, AVIF, TIFF, GIF, HEIC, JXL, BMP = ImageFormat
ALL = [JPEG, PNG, WEBP, AVIF, TIFF, GIF]


def header(kind: ImageFormat, *, alpha: bool = False, frames: int = 1, depth: int = 8) -> ImageHeader:
    return ImageHeader(kind, 1, 1, alpha, frames, depth)


@pytest.mark.parametrize(
    ("formats", "given", "chosen"),
    [
        (ALL, header(WEBP), WEBP),
        (ALL, header(JPEG), JPEG),
        (ALL, header(TIFF, alpha=True, depth=16), TIFF),
        (ALL, header(HEIC), JPEG),
        (ALL, header(HEIC, alpha=True), PNG),
        (ALL, header(JXL), JPEG),
        (ALL, header(JXL, depth=16), PNG),
        (ALL, header(BMP), PNG),
        (ALL, header(GIF), PNG),
        (ALL, header(GIF, frames=2), GIF),
        ([PNG, WEBP], header(JPEG), PNG),
        ([JPEG, PNG], header(WEBP, alpha=True), PNG),
        ([JPEG, WEBP, PNG], header(TIFF, depth=16), PNG),
        ([JPEG, WEBP], header(PNG, frames=2), WEBP),
        ([JPEG], header(PNG, alpha=True), JPEG),
        ([JPEG], header(PNG, depth=16), JPEG),
    ],
)
def test_chosen_format_keeps_features_and_then_the_format_of_the_input(
    formats: list[ImageFormat], given: ImageHeader, chosen: ImageFormat
) -> None:
    assert OutputSpec(formats).choose_format(given) is chosen


def test_frames_are_not_dropped() -> None:
    with pytest.raises(NotAcceptable, match="3 frames, which image/png, image/webp, image/gif can have") as failure:
        OutputSpec([JPEG, TIFF]).choose_format(header(GIF, frames=3))
    assert failure.value.members == {"available": ["image/png", "image/webp", "image/gif"]}


def test_lossless_is_kept_or_refused() -> None:
    assert OutputSpec(ALL, lossless=True).choose_format(header(JPEG)) in (PNG, WEBP, TIFF)
    with pytest.raises(InvalidRequest, match="a jpeg cannot be lossless; png, tiff and webp can"):
        OutputSpec([JPEG], lossless=True).choose_format(header(PNG))
