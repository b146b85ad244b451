"""How calls are charged is tested in access/test_pixel_charges.py, and over HTTP in routes/test_open_inference.py."""

import base64
import math
from pathlib import Path

import pytest

from service.errors import InvalidRequest
from service.http.compatible_api_calls import MAX_IMAGES, check_count
from tests.service.imaging.images import file, photo
from tests.service.live import held, publish_upscaler, serving_clients


def test_calls_have_a_bounded_number_of_images() -> None:
    check_count(1, "image")
    check_count(MAX_IMAGES, "image")
    for count in (0, MAX_IMAGES + 1):
        with pytest.raises(InvalidRequest, match=f"image: there are {count} images; send from 1 to {MAX_IMAGES}"):
            check_count(count, "image")


def test_images_beside_one_that_cannot_be_read_are_no_clients_that_left(tmp_path: Path) -> None:
    publish_upscaler(tmp_path)
    files = [file(photo(number)) for number in range(MAX_IMAGES - 1)] + [file(photo())[:-40]]
    images = [{"data": base64.b64encode(each).decode(), "name": "a"} for each in files]
    with serving_clients(tmp_path) as live:
        with held(live):
            refused = live.client.post(
                "/sdapi/v1/extra-batch-images", json={"imageList": images, "upscaling_resize": 4, "upscaler_1": "x4"}
            )
        assert refused.status_code == 400, refused.text
        assert live.service.admission.patience.seconds() == math.inf
