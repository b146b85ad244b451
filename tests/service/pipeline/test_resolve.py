from pathlib import Path
from time import monotonic

import pytest

from service.engine.priority import Priority
from service.errors import InvalidRequest, UnknownModel
from service.imaging.codecs import ImageFormat
from service.pipeline.requests import StylizeParameters, StylizeRequest, UpscaleRequest
from service.pipeline.resolve import Timeout, resolve
from service.pipeline.stylize import Stylize
from service.pipeline.upscale import Upscale
from tests.service.live import publish, publish_upscaler, serving


def test_request_is_resolved_to_models_output_and_deadline(tmp_path: Path) -> None:
    publish(tmp_path)
    publish_upscaler(tmp_path)
    parameters = StylizeParameters(strength=0.5, quality=70, priority=Priority.BULK)
    request = StylizeRequest(style="wave", parameters=parameters, formats=(ImageFormat.WEBP,), timeout=5)
    with serving(tmp_path) as live:
        models, settings = live.service.models, live.service.settings
        stylize = resolve(request, models, settings, b"mask")
        upscale = resolve(UpscaleRequest(scale=4), models, settings, default_timeout=7.0)
        for unknown in (StylizeRequest(style="x4"), UpscaleRequest(scale=17)):
            with pytest.raises(UnknownModel):
                resolve(unknown, models, settings)
        with pytest.raises(InvalidRequest, match="at most 600 seconds"):
            resolve(StylizeRequest(style="wave", timeout=601), models, settings)
    assert isinstance(stylize.operation, Stylize)
    assert (stylize.model.name, stylize.operation.options.strength, stylize.mask) == ("wave", 0.5, b"mask")
    assert (stylize.output.formats, stylize.output.quality) == ((ImageFormat.WEBP,), 70)
    assert (stylize.timeout.seconds, stylize.timeout.priority) == (5, Priority.BULK)
    assert isinstance(upscale.operation, Upscale)
    assert (upscale.model.name, upscale.timeout.seconds) == ("x4", 7.0)


def test_named_timeout_counts_from_arrival_and_the_default_from_admission() -> None:
    arrived = monotonic() - 100
    named, default = Timeout(60, 5, arrived=arrived), Timeout(60, arrived=arrived)
    assert named.deadline().at == arrived + 5
    assert default.deadline().at >= arrived + 100 + 60
    assert (named.deadline().is_default, default.deadline().is_default) == (False, True)


def test_only_who_names_no_timeout_gets_a_late_answer() -> None:
    named, default = Timeout(60, 5, grace=540), Timeout(60, grace=540)
    assert named.deadline().end == named.deadline().at
    assert default.deadline().end - default.deadline().at == pytest.approx(540)
    assert (named.longest, default.longest) == (5, 600)
