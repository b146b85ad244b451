import pytest

from service.imaging.codecs import ImageFormat
from service.imaging.codecs.timing import MAX_WEBP_DURATION, Timing

PNG, WEBP, GIF = ImageFormat.PNG, ImageFormat.WEBP, ImageFormat.GIF


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ([33, 67, 33], [30, 70, 30]),
        ([16, 17, 8, 5], [20, 20, 20, 20]),
        ([45, 45, 45], [40, 50, 50]),
        ([0, 10, 655_350], [0, 10, 655_350]),
        ([5, 655_350], [20, 655_350]),
        ([655_360, 10**9], [655_350, 655_350]),
    ],
)
def test_durations_of_a_gif_are_rounded_to_centiseconds_of_16_bits(given: list[int], expected: list[int]) -> None:
    assert Timing(given, 0).fit(GIF).milliseconds == expected


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (65_535, 65_535),
        (65_536, 65_540),
        (655_354, 655_350),
        (655_356, 655_400),
        (6_553_600, 6_554_000),
        (65_535_000, 65_535_000),
        (10**9, 65_535_000),
    ],
)
def test_durations_of_a_png_are_fractions_of_16_bits(given: int, expected: int) -> None:
    assert Timing([33, given], 0).fit(PNG).milliseconds == [33, expected]


def test_durations_of_a_webp_have_24_bits_and_their_sum_31() -> None:
    assert Timing([1, 2**24], 0).fit(WEBP).milliseconds == [1, MAX_WEBP_DURATION]
    assert sum(Timing([2**24] * 1000, 0).fit(WEBP).milliseconds) < 2**31


@pytest.mark.parametrize(
    ("kind", "given", "expected"),
    [
        (GIF, 65_536, 65_536),
        (GIF, 65_537, 65_536),
        (WEBP, 65_536, 65_535),
        (PNG, 65_536, 65_536),
        (PNG, 2**32 - 1, 2**31 - 1),
        (GIF, 0, 0),
        (WEBP, 0, 0),
    ],
)
def test_loop_counts_are_at_most_what_a_format_holds(kind: ImageFormat, given: int, expected: int) -> None:
    assert Timing([50, 50], given).fit(kind).loop_count == expected
