import pytest

from service.errors import InvalidRequest, NotAcceptable
from service.photographs import Header, ImageFormat, Output

JPEG, PNG, WEBP, AVIF, TIFF, GIF, HEIC = ImageFormat
ALL = [JPEG, PNG, WEBP, AVIF, TIFF, GIF]


def header(kind: ImageFormat, *, alpha: bool = False, frames: int = 1, depth: int = 8) -> Header:
    return Header(kind, 1, 1, alpha, frames, depth)


@pytest.mark.parametrize(
    ("formats", "given", "chosen"),
    [
        (ALL, header(WEBP), WEBP),
        (ALL, header(JPEG), JPEG),
        (ALL, header(TIFF, alpha=True, depth=16), TIFF),
        (ALL, header(HEIC), JPEG),
        (ALL, header(HEIC, alpha=True), PNG),
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
def test_choice_keeps_what_the_photograph_has_and_then_its_format(
    formats: list[ImageFormat], given: Header, chosen: ImageFormat
) -> None:
    assert Output(formats).choose(given) is chosen


def test_frames_are_not_dropped() -> None:
    with pytest.raises(NotAcceptable, match="3 frames, which image/png, image/webp, image/gif can have") as failure:
        Output([JPEG, TIFF]).choose(header(GIF, frames=3))
    assert failure.value.members == {"available": ["image/png", "image/webp", "image/gif"]}


def test_what_was_to_be_lossless_is_or_is_refused() -> None:
    assert Output(ALL, lossless=True).choose(header(JPEG)) in (PNG, WEBP, TIFF)
    with pytest.raises(InvalidRequest, match="a jpeg cannot be lossless; png, tiff and webp can"):
        Output([JPEG], lossless=True).choose(header(PNG))
