"""The pipeline without HTTP; over HTTP it is tested in http/routes/test_images.py."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from service.app import Service, build_service
from service.errors import CorruptImage, DeadlineExceeded, Draining, ImageTooLarge, InvalidRequest
from service.imaging.codecs import ImageFormat, inspect
from service.pipeline.requests import StylizeParameters, StylizeRequest, UpscaleParameters, UpscaleRequest
from service.pipeline.resolve import ResolvedRequest, Timeout, resolve
from service.pipeline.trace import Trace
from tests.service.imaging.images import file, photo
from tests.service.live import (
    painted,
    pixels,
    publish,
    publish_restorer,
    publish_upscaler,
    same,
    settings,
    worker_launcher,
)

Scenario = Callable[[Service, ResolvedRequest], Awaitable[None]]


def with_service(root: Path, scenario: Scenario, parameters: dict[str, Any] | None = None, **options: Any) -> None:
    """Run a scenario with a service that runs and a request for its style, as PNG."""
    publish(root)
    service = build_service(settings(root, **options), launcher=worker_launcher())
    asked = StylizeRequest(
        style="wave", formats=(ImageFormat.PNG,), parameters=StylizeParameters.model_validate(parameters or {})
    )

    async def run() -> None:
        async with service.lifespan(service.app):
            await service.watcher.refresh()
            async with asyncio.timeout(60):
                await scenario(service, resolve(asked, service.models, service.settings))

    asyncio.run(run())


def test_image_goes_through_all_stages(tmp_path: Path) -> None:
    async def scenario(service: Service, request: ResolvedRequest) -> None:
        trace = Trace("id")
        image = await service.pipeline.run(request, file(photo()), trace)
        assert same(pixels(image.content), painted(tmp_path, photo()))
        assert (image.format, image.size) == (ImageFormat.PNG, (24, 32))
        assert list(trace.durations) == ["decode", "queue", "infer", "encode"]
        assert [inference.tiles_done for inference in trace.inferences] == [1]
        assert not service.admission.inferences

    with_service(tmp_path, scenario)


@pytest.mark.parametrize(
    ("options", "image", "parameters", "error"),
    [
        ({}, file(photo(), compress_level=0)[:-900], {}, CorruptImage),
        ({"max_pixels": 700}, file(photo()), {}, ImageTooLarge),
        ({"max_output_pixels": 700}, file(photo()), {}, ImageTooLarge),
        ({}, file(photo()), {"feather": 3}, InvalidRequest),
    ],
)
def test_refused_image_leaves_nothing_admitted(
    tmp_path: Path, options: dict[str, Any], image: bytes, parameters: dict[str, Any], error: type[Exception]
) -> None:
    async def scenario(service: Service, request: ResolvedRequest) -> None:
        with pytest.raises(error):
            await service.pipeline.run(request, image, Trace("id"))
        assert not service.admission.inferences
        assert service.admission.output_pixels() == 0

    with_service(tmp_path, scenario, parameters, **options)


def test_damage_is_looked_for_before_the_deadline_only(tmp_path: Path) -> None:
    publish_upscaler(tmp_path)
    publish_restorer(tmp_path)

    async def scenario(service: Service, request: ResolvedRequest) -> None:
        asked = UpscaleRequest(scale=4, formats=(ImageFormat.PNG,), parameters=UpscaleParameters())
        upscale, trace = resolve(asked, service.models, service.settings), Trace("id")
        assert upscale.operation.damaged is not None
        with pytest.raises(DeadlineExceeded, match="not ready in 1e-06 s"):
            await service.pipeline.run(replace(upscale, timeout=Timeout(60, named=1e-6)), file(photo()), trace)
        assert trace.inferences == []
        assert "decode" in (await _traced(service, upscale)).durations

    with_service(tmp_path, scenario)


async def _traced(service: Service, request: ResolvedRequest) -> Trace:
    trace = Trace("id")
    await service.pipeline.run(request, file(photo()), trace)
    return trace


def test_answer_after_the_deadline_is_given_up(tmp_path: Path) -> None:
    async def scenario(service: Service, request: ResolvedRequest) -> None:
        late = replace(request, timeout=Timeout(60, named=1e-6))
        with pytest.raises(DeadlineExceeded):
            await service.pipeline.run(late, file(photo()), Trace("id"))

    with_service(tmp_path, scenario)


@pytest.mark.parametrize("timeout", [Timeout(1e-6), Timeout(60, named=1e-6)])
def test_header_that_takes_too_long_to_read_is_given_up(tmp_path: Path, timeout: Timeout) -> None:
    async def scenario(service: Service, request: ResolvedRequest) -> None:
        trace = Trace("id")
        with pytest.raises(DeadlineExceeded, match="not ready in 1e-06 s"):
            await service.pipeline.run(replace(request, timeout=timeout), file(photo()), trace)
        assert not trace.durations

    with_service(tmp_path, scenario)


def test_forecast_is_what_the_request_would_get(tmp_path: Path) -> None:
    async def scenario(service: Service, request: ResolvedRequest) -> None:
        forecast = service.pipeline.forecast(request, inspect(file(photo())))
        assert (forecast.refusal, forecast.tiles, forecast.pixels) == (None, 1, 24 * 32)
        assert forecast.queue_seconds == 0
        assert (forecast.infer_seconds or 0) > 0
        large = service.pipeline.forecast(request, inspect(file(np.zeros((40, 40, 3), np.uint8))))
        assert isinstance(large.refusal, ImageTooLarge)
        assert large.tiles is None

    with_service(tmp_path, scenario, max_pixels=1500)


def test_draining_service_refuses_before_the_body_is_read(tmp_path: Path) -> None:
    async def scenario(service: Service, request: ResolvedRequest) -> None:
        service.pipeline.check(request)
        service.admission.close()
        with pytest.raises(Draining):
            service.pipeline.check(request)

    with_service(tmp_path, scenario)
