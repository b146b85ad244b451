import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.errors import InvalidRequest
from service.imaging.sizes import Fit, Framing, Size, fit_size

FULL = Size(300, 400)


@pytest.mark.parametrize(
    ("width", "height", "fit", "expected"),
    [
        (None, None, Fit.COVER, Framing(FULL, FULL)),
        (200, None, Fit.INSIDE, Framing(Size(150, 200), Size(150, 200))),
        (None, 150, Fit.COVER, Framing(Size(150, 200), Size(150, 200))),
        (200, 200, Fit.INSIDE, Framing(Size(150, 200), Size(150, 200))),
        (200, 200, Fit.COVER, Framing(Size(200, 267), Size(200, 200))),
        (200, 200, Fit.FILL, Framing(Size(200, 200), Size(200, 200))),
        (400, 3000, Fit.INSIDE, Framing(FULL, FULL)),
        (1, 1, Fit.INSIDE, Framing(Size(1, 1), Size(1, 1))),
    ],
)
def test_framing(width: int | None, height: int | None, fit: Fit, expected: Framing) -> None:
    assert fit_size(FULL, width, height, fit) == expected


def test_crop_is_centred() -> None:
    assert fit_size(FULL, 200, 200, Fit.COVER).corner == (0, 33)


@pytest.mark.parametrize(
    ("width", "height", "fit"),
    [
        (401, None, Fit.INSIDE),
        (None, 301, Fit.FILL),
        (500, 500, Fit.INSIDE),
        (350, 300, Fit.COVER),
        (401, 10, Fit.FILL),
    ],
)
def test_size_beyond_the_full_one_is_refused(width: int | None, height: int | None, fit: Fit) -> None:
    if (width, height) == (350, 300):
        assert fit_size(FULL, width, height, fit).answer == Size(300, 350)
        return
    with pytest.raises(InvalidRequest, match="becomes 400×300 at most") as failure:
        fit_size(FULL, width, height, fit)
    assert failure.value.members["max_accepted"] == {"width": 400, "height": 300}


sides = st.integers(1, 3000)


@given(full=st.builds(Size, sides, sides), width=sides, height=sides, fit=st.sampled_from(Fit))
def test_answer_has_the_requested_size(full: Size, width: int, height: int, fit: Fit) -> None:
    try:
        framing = fit_size(full, width, height, fit)
    except InvalidRequest:
        return
    assert framing.resized.width <= full.width
    assert framing.resized.height <= full.height
    assert framing.answer.width <= framing.resized.width
    assert framing.answer.height <= framing.resized.height
    if fit is Fit.INSIDE:
        assert framing.answer.width <= width
        assert framing.answer.height <= height
    else:
        assert framing.answer == Size(height, width)


@given(size=st.builds(Size, sides, sides), side=sides)
def test_longest_side_is_exact_and_the_aspect_is_rounded(size: Size, side: int) -> None:
    scaled = size.with_longest(side)
    assert max(scaled) == side
    assert min(scaled) >= 1
    assert abs(min(scaled) - max(1, min(size) * side / max(size))) <= 0.5
