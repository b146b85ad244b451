"""Whole calls are tested in routes/test_automatic1111.py."""

import json
from typing import Any

import pytest

from service.errors import InvalidRequest
from service.http.automatic1111.extras import Extras
from service.imaging.sizes import Fit, Size


def extras(**options: Any) -> Extras:
    return Extras.parse(json.dumps({"upscaler_1": "x4", "image": None, "unknown": 1, **options}).encode())


def test_factor_is_the_scale() -> None:
    asked = extras(upscaling_resize=3).request(Size(24, 32), 1, 5.0)
    assert (asked.scale, asked.timeout, asked.parameters.model, asked.parameters.width) == (3, 5.0, "x4", None)
    assert extras().request(Size(24, 32), 1, None).scale == 2


def test_size_is_covered_and_cropped() -> None:
    options = {"resize_mode": 1, "upscaling_resize_w": 64, "upscaling_resize_h": 96}
    asked = extras(**options).request(Size(24, 32), 1, None)
    assert asked.scale == 4
    assert (asked.parameters.width, asked.parameters.height, asked.parameters.fit) == (64, 96, Fit.COVER)
    whole = extras(**options, upscaling_crop=False).request(Size(24, 32), 1, None)
    assert (whole.scale, whole.parameters.width) == (4, None)
    with pytest.raises(InvalidRequest, match="the image is 64×96, and 64×96 is no larger"):
        extras(**options).request(Size(96, 64), 1, None)


def test_second_upscaler_may_be_named_without_effect() -> None:
    assert extras(upscaler_2="x2", extras_upscaler_2_visibility=0).upscaler_1 == "x4"
    assert extras(upscaler_2=None, extras_upscaler_2_visibility=1).upscaler_1 == "x4"


def test_what_a_network_enlarges_too_much_is_reduced() -> None:
    asked = extras(upscaling_resize=2.5).request(Size(25, 33), 4, None)
    parameters = asked.parameters
    assert (asked.scale, parameters.width, parameters.height, parameters.fit) == (4, 82, 62, Fit.FILL)
    assert extras(upscaling_resize=4).request(Size(25, 33), 4, None).parameters.width is None
    assert extras(upscaling_resize=8).request(Size(25, 33), 4, None).scale == 8
    cropped = extras(resize_mode=1, upscaling_resize_w=64, upscaling_resize_h=64).request(Size(24, 32), 4, None)
    assert (cropped.scale, cropped.parameters.width, cropped.parameters.fit) == (4, 64, Fit.COVER)


def test_entries_are_counted_and_no_option_of_the_document() -> None:
    batch = extras(imageList=[{"data": None}, {}])
    batch.check_entries(2)
    with pytest.raises(InvalidRequest, match="imageList: it has 2 entries and 1 images"):
        batch.check_entries(1)
    assert extras(imageList=None).upscaler_1 == "x4"
    assert "imageList" not in Extras.model_json_schema()["properties"]
