import numpy as np
import pytest

from service.imaging.codecs.cicp import CURVES, PRIMARIES, SRGB_CURVE, CodePoints, declare_code_points
from service.imaging.codecs.colour import assign_colour_space
from service.imaging.codecs.hdr import HdrColours, HdrTransfer


def shown(codes: tuple[int, int], *colour: int) -> list[int]:
    """A colour with those code points, on a display of sRGB."""
    pixels, space = assign_colour_space(np.full((1, 1, 3), colour, np.uint8), declare_code_points(CodePoints(*codes)))
    return [int(value) for value in space.to_srgb(pixels)[0, 0]]


@pytest.mark.parametrize(
    ("codes", "colour", "expected"),  # as Chromium shows them
    [
        ((1, 13), (85, 85, 85), (85, 85, 85)),
        ((1, 1), (85, 170, 255), (76, 165, 255)),
        ((1, 8), (85, 170, 255), (156, 213, 255)),
        ((1, 4), (85, 170, 255), (84, 171, 255)),
        ((1, 5), (85, 170, 255), (61, 154, 255)),
        ((1, 7), (85, 170, 255), (101, 179, 255)),
        ((12, 13), (220, 60, 40), (239, 35, 17)),
    ],
)
def test_colours(codes: tuple[int, int], colour: tuple[int, ...], expected: tuple[int, ...]) -> None:
    assert np.abs(np.subtract(shown(codes, *colour), expected)).max() <= 1


@pytest.mark.parametrize("primaries", PRIMARIES)
@pytest.mark.parametrize("transfer", CURVES)
def test_white_is_white(primaries: int, transfer: int) -> None:
    assert min(shown((primaries, transfer), 255, 255, 255)) >= 254


def test_srgb_needs_no_profile() -> None:
    assert declare_code_points(CodePoints(1, 13)) is None
    assert declare_code_points(CodePoints(12, 13), is_grey=True) is None
    assert declare_code_points(CodePoints(1, 1), video_curve=SRGB_CURVE) is None


def test_high_dynamic_range() -> None:
    for transfer, kind in ((16, HdrTransfer.PQ), (18, HdrTransfer.HLG)):
        assert declare_code_points(CodePoints(9, transfer)) == HdrColours(kind, PRIMARIES[9])


@pytest.mark.parametrize(
    ("codes", "resolved"),
    [((2, 2), (1, 13)), ((9, 2), (9, 13)), ((2, 16), (1, 16)), ((12, 9), (12, 13)), ((9, 18), (9, 18))],
)
def test_unknown_code_points_are_those_of_srgb(codes: tuple[int, int], resolved: tuple[int, int]) -> None:
    assert CodePoints(*codes).resolve_unknown() == resolved
    assert CodePoints(*codes).is_known == (codes == resolved)
