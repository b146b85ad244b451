import math

import pytest
from pydantic import TypeAdapter, ValidationError

from service.engine.priority import Priority
from service.imaging.codecs import ImageFormat
from service.pipeline.requests import (
    ImageRequest,
    StoredImageRequest,
    StylizeParameters,
    StylizeRequest,
    UpscaleRequest,
)


@pytest.mark.parametrize(
    "request_",
    [
        StylizeRequest(
            style="wave", parameters=StylizeParameters(quality=80), formats=(ImageFormat.WEBP,), timeout=3.5
        ),
        UpscaleRequest(scale=4),
        UpscaleRequest(scale=2.53),
    ],
)
def test_request_survives_being_stored(request_: ImageRequest) -> None:
    stored: TypeAdapter[ImageRequest] = TypeAdapter(StoredImageRequest)
    assert stored.validate_json(request_.model_dump_json()) == request_


def test_whole_scale_is_stored_as_an_integer() -> None:
    assert UpscaleRequest(scale=4.0).model_dump_json() == UpscaleRequest(scale=4).model_dump_json()
    assert '"scale":4}' in UpscaleRequest(scale=4).model_dump_json()


@pytest.mark.parametrize("scale", [0.5, -2, math.inf, math.nan])
def test_scale_is_one_at_least(scale: float) -> None:
    with pytest.raises(ValidationError):
        UpscaleRequest(scale=scale)


def test_priority_of_a_job_is_bulk_unless_the_client_has_named_one() -> None:
    assert StylizeRequest(style="wave").as_bulk().parameters.priority is Priority.BULK
    urgent = StylizeRequest(style="wave", parameters=StylizeParameters(priority=Priority.INTERACTIVE))
    assert urgent.as_bulk() == urgent


def test_options_of_the_operation_are_those_that_decide_on_the_pixels() -> None:
    parameters = StylizeParameters(strength=0.5, quality=80)
    assert parameters.stylize_options.strength == 0.5
    assert "quality" not in type(parameters.stylize_options).model_fields
