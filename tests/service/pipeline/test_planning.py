from pathlib import Path

import pytest

from model_store import ModelStore
from pastiche.catalogue import Catalogue
from service.errors import ImageTooLarge
from service.imaging.codecs import ImageFormat, ImageHeader
from service.pipeline.planning import check_limits, image_limits, plan_frame
from service.pipeline.requests import UpscaleRequest
from service.pipeline.resolve import ResolvedRequest, resolve
from tests.service.engine.runners import LOADERS, made
from tests.service.live import publish_upscaler, settings


def header(height: int = 10, width: int = 20, depth: int = 8) -> ImageHeader:
    return ImageHeader(ImageFormat.PNG, width, height, has_alpha=False, depth=depth)


@pytest.fixture
def request_(tmp_path: Path) -> ResolvedRequest:
    publish_upscaler(tmp_path)
    runner = made()
    catalogue = Catalogue([ModelStore(tmp_path)], LOADERS[runner], {})
    return resolve(UpscaleRequest(scale=4), catalogue, settings(tmp_path))


@pytest.mark.parametrize(
    ("depth", "output", "fp32"),
    [(8, ImageFormat.PNG, False), (16, ImageFormat.PNG, True), (16, ImageFormat.JPEG, False)],
)
def test_sixteen_bits_in_and_out_are_computed_in_fp32(
    request_: ResolvedRequest, depth: int, output: ImageFormat, fp32: bool
) -> None:
    [model] = plan_frame(request_, header(depth=depth), output).models
    assert model.in_fp32 == fp32


@pytest.mark.parametrize(
    ("options", "limit"),
    [
        ({}, None),
        ({"max_pixels": 199}, "max_pixels"),
        ({"max_output_pixels": 3199}, "max_output_pixels"),
    ],
)
def test_all_sizes_on_the_way_are_limited(
    tmp_path: Path, request_: ResolvedRequest, options: dict[str, int], limit: str | None
) -> None:
    limits = image_limits(settings(tmp_path, **options))
    plan = plan_frame(request_, header(), ImageFormat.PNG)
    if limit is None:
        check_limits(limits, header(), plan, ImageFormat.PNG)
        return
    with pytest.raises(ImageTooLarge) as error:
        check_limits(limits, header(), plan, ImageFormat.PNG)
    assert error.value.members["limit"] == limit
