from typing import Any

import pytest

from pastiche.options import Target, stylize_request, upscale_request
from service.errors import InvalidRequest


def test_versions_are_told_from_names_and_weights() -> None:
    target = Target.parse("great-wave@3:0.7, the-scream:0.3,udnie@12")
    assert target.expression == "great-wave:0.7,the-scream:0.3,udnie"
    assert target.names == ("great-wave", "the-scream", "udnie")
    assert target.pinned == {"great-wave": 3, "udnie": 12}


@pytest.mark.parametrize("text", ["", "@3", "wave@", "wave@new", "wave@1@2", "a,,b", "wave:1:2"])
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequest, match="names no model; accepted are"):
        Target.parse(text)


def test_options_become_the_requests_of_the_service() -> None:
    stylize = stylize_request("wave", {"strength": 0.5, "size": "native"})
    assert (stylize.style, stylize.parameters.strength, stylize.parameters.size) == ("wave", 0.5, "native")
    upscale = upscale_request(4, "x4", {"scale": 3, "denoise": 0.5})
    assert (upscale.scale, upscale.parameters.model, upscale.parameters.denoise) == (3, "x4", 0.5)
    assert upscale_request(2, None, {}).parameters.model == "auto"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scale": 0.5}, "scale is 0.5: Input should be greater than or equal to 1"),
        ({"denoise": "much"}, "denoise is 'much': Input should be a valid number"),
        ({"strength": 1}, "an upscaler has no option 'strength'. There are: back_projection"),
        ({"widht": 3}, "did you mean width?"),
    ],
)
def test_wrong_options_are_refused_with_what_is_accepted(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidRequest) as error:
        upscale_request(4, None, options)
    assert message in str(error.value)
