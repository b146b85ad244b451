"""How calls are charged is tested in access/test_pixel_charges.py, and over HTTP in routes/test_open_inference.py."""

import pytest

from service.errors import InvalidRequest
from service.http.compatible_api_calls import MAX_IMAGES, check_count


def test_calls_have_a_bounded_number_of_images() -> None:
    check_count(1, "image")
    check_count(MAX_IMAGES, "image")
    for count in (0, MAX_IMAGES + 1):
        with pytest.raises(InvalidRequest, match=f"image: there are {count} images; send from 1 to {MAX_IMAGES}"):
            check_count(count, "image")
