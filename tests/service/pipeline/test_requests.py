import pytest

from service.engine.request import Priority
from service.imaging.codecs import ImageFormat
from service.pipeline.requests import IMAGE_REQUEST, ImageRequest, StylizeParameters, StylizeRequest, UpscaleRequest


@pytest.mark.parametrize(
    "request_",
    [
        StylizeRequest(
            style="wave", parameters=StylizeParameters(quality=80), formats=(ImageFormat.WEBP,), timeout=3.5
        ),
        UpscaleRequest(scale=4),
    ],
)
def test_request_survives_being_stored(request_: ImageRequest) -> None:
    assert IMAGE_REQUEST.validate_json(request_.model_dump_json()) == request_


def test_priority_of_a_job_is_bulk_unless_the_client_has_named_one() -> None:
    assert StylizeRequest(style="wave").as_bulk().parameters.priority is Priority.BULK
    urgent = StylizeRequest(style="wave", parameters=StylizeParameters(priority=Priority.INTERACTIVE))
    assert urgent.as_bulk() == urgent


def test_options_of_the_operation_are_those_that_decide_on_the_pixels() -> None:
    parameters = StylizeParameters(strength=0.5, quality=80)
    assert parameters.stylize_options.strength == 0.5
    assert "quality" not in type(parameters.stylize_options).model_fields
