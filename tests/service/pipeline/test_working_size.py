import pytest

from service.imaging.sizes import Size
from service.pipeline.working_size import working_size


@pytest.mark.parametrize(
    ("photo", "painted"),
    [
        (Size(612, 816), Size(612, 816)),
        (Size(1280, 960), Size(1280, 960)),
        (Size(1224, 1632), Size(768, 1024)),
        (Size(6000, 8000), Size(768, 1024)),
        (Size(2340, 1080), Size(1109, 512)),
        (Size(1, 5000), Size(1, 5000)),
    ],
)
def test_a_photograph_is_painted_at_its_own_size_or_at_the_working_size(photo: Size, painted: Size) -> None:
    assert working_size(photo, 1024) == painted
