from pathlib import Path

import pytest
from pydantic import ValidationError

from service.errors import UnknownModel
from service.imaging.codecs import ImageFormat
from service.pipeline.requests import StylizeRequest, UpscaleRequest
from service.pipeline.requests_by_model import request_by_model
from tests.service.live import publish, publish_upscaler, serving

FORMATS = (ImageFormat.PNG,)


def test_model_decides_what_is_done(tmp_path: Path) -> None:
    publish(tmp_path)
    publish_upscaler(tmp_path)
    with serving(tmp_path) as live:
        models = live.service.models
        painted = request_by_model(models, "wave", {"strength": 0.5}, FORMATS, 3.0)
        assert isinstance(painted, StylizeRequest)
        assert (painted.style, painted.parameters.strength) == ("wave", 0.5)
        assert (painted.formats, painted.timeout) == (FORMATS, 3.0)
        mixed = request_by_model(models, "wave:0.7,night:0.3", {}, FORMATS)
        assert isinstance(mixed, StylizeRequest)
        larger = request_by_model(models, "x4", {"width": 9}, FORMATS)
        assert isinstance(larger, UpscaleRequest)
        assert (larger.scale, larger.parameters.model, larger.parameters.width) == (4, "x4", 9)
        with pytest.raises(UnknownModel, match="there are: wave, x4"):
            request_by_model(models, "cats", {}, FORMATS)
        for name, parameter in (("wave", "width"), ("x4", "strength")):
            with pytest.raises(ValidationError, match=parameter):
                request_by_model(models, name, {parameter: 1}, FORMATS)
