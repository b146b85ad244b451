from collections.abc import Callable
from dataclasses import fields

import pytest

from service.errors import ImageTooLarge
from service.imaging.codecs import ImageFormat, ImageHeader, ImageLimits

STILL = ImageHeader(ImageFormat.JPEG, 30, 20, has_alpha=False)
MOVING = ImageHeader(ImageFormat.GIF, 30, 20, has_alpha=True, frames=10)
WIDE = 10**9


@pytest.mark.parametrize(
    ("limit", "actual", "check"),
    [
        ("max_pixels", 600, lambda limits: limits.check_input(STILL)),
        ("max_pixels", 6000, lambda limits: limits.check_input(MOVING)),
        ("max_frames", 10, lambda limits: limits.check_input(MOVING)),
        ("max_whole_pixels", 600, lambda limits: limits.check_pass(600, whole=True)),
        ("max_output_pixels", 9600, lambda limits: limits.check_result(9600)),
        ("max_output_pixels", 96_000, lambda limits: limits.check_result(9600, frames=10)),
        ("max_queue_pixels", 600, lambda limits: limits.check_work(600)),
        ("max_queue_inferences", 40, lambda limits: limits.check_inferences(10, networks=4)),
    ],
)
def test_limit_is_inclusive_and_more_is_refused(limit: str, actual: int, check: Callable[[ImageLimits], None]) -> None:
    others = dict.fromkeys((field.name for field in fields(ImageLimits)), WIDE)
    check(ImageLimits(**others | {limit: actual}))
    with pytest.raises(ImageTooLarge) as failure:
        check(ImageLimits(**others | {limit: actual - 1}))
    assert failure.value.members == {"limit": limit, "actual": actual, "max_accepted": actual - 1}


def test_tileable_input_has_no_limit_of_its_own() -> None:
    ImageLimits(1, 1, 1, 1, 1, 1).check_pass(WIDE, whole=False)


def test_whole_images_are_smaller_where_the_network_takes_more_memory() -> None:
    limits = ImageLimits(WIDE, WIDE, 600, WIDE, WIDE, WIDE)
    limits.check_pass(60, whole=True, share=0.1)
    with pytest.raises(ImageTooLarge, match="61 pixels in the input of this model exceed the 60 that are accepted"):
        limits.check_pass(61, whole=True, share=0.1)


def test_side_is_limited_by_the_output_format() -> None:
    limits = ImageLimits(1, 1, 1, 1, 1, 1)
    limits.check_side(20_000, ImageFormat.PNG)
    with pytest.raises(ImageTooLarge) as failure:
        limits.check_side(20_000, ImageFormat.WEBP)
    assert failure.value.members == {"limit": "webp_side", "actual": 20_000, "max_accepted": 16_383}
