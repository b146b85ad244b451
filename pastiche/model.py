"""A model that was loaded: call it with images."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any, Self, overload

import numpy as np
from PIL import Image

from pastiche.catalogue import Catalogue
from pastiche.inference import Inference
from pastiche.options import Target, stylize_request, upscale_request
from pastiche.pictures import Array, Source, read_source, to_array, to_image
from service.engine.device_assembly import Device
from service.errors import InvalidRequest
from service.imaging.codecs import ImageFormat, ImageHeader, Picture, Pixels, inspect
from service.imaging.masks import inspect_mask
from service.imaging.sizes import Size
from service.imaging.workers.image_tasks import SourceFrames, assess_image, decode_frames
from service.models.served_model import ServedModel
from service.pipeline.execution import Execution
from service.pipeline.operation import Plan
from service.pipeline.planning import check_limits, image_limits, plan_frame
from service.pipeline.requests import ImageRequest
from service.pipeline.resolve import ResolvedRequest, resolve
from service.pipeline.trace import Trace
from service.settings import Settings

IMAGES_AT_ONCE = 8
"""Of a list of images, as many are in memory at the same time."""


@dataclass(frozen=True)
class Prepared:
    """An image that is ready for its networks."""

    plan: Plan
    inputs: Sequence[Pixels]
    """Of the first networks, one for each frame: there is one."""
    source: SourceFrames

    def finish(self, outputs: Sequence[Any]) -> Picture:
        """The answer, made of what the networks gave."""
        [frame] = self.source.frames
        return self.plan.transform.postprocess(frame, outputs)


class Model:
    """A style, a mixture of styles, or an upscaler, on a device. Made by `pastiche.load`.

    Its answers have the pixels that the service would give for the same request, as a PNG. Threads may share it.
    """

    def __init__(self, target: Target | float, settings: Settings, catalogue: Catalogue, device: Device) -> None:
        """`target`: the models, or how many times sides grow. Loads the models that are named.

        Raises UnknownModel, ModelUnavailable or InvalidRequest.
        """
        self._target = target
        self._settings = settings
        self._catalogue = catalogue
        self._device = device
        self._limits = image_limits(settings)
        self._inference = Inference(device)
        self._closed = False
        self._loaded_in = os.getpid()
        self._models = self._resolve({}).operation.models
        for model in self._models:
            _ = model.network

    @overload
    def __call__(self, image: Array, *, mask: Source | None = None, **options: Any) -> Array: ...

    @overload
    def __call__(
        self, image: "list[Source] | tuple[Source, ...]", *, mask: Source | None = None, **options: Any
    ) -> list[Any]: ...

    @overload
    def __call__(self, image: Source, *, mask: Source | None = None, **options: Any) -> Image.Image: ...

    def __call__(self, image: Any, *, mask: Source | None = None, **options: Any) -> Any:
        """Paint or enlarge an image: an array for an array, for all else an image of Pillow's; a list for a list.

        The options are those of the service. `mask`, for styles: white where the image is painted. An upscaler takes
        `scale`, too. Raises ServiceError, or TypeError, ValueError or OSError for what is no image, and RuntimeError
        once it is closed, or in a process that was forked after it was loaded.
        """
        self._require_threads()
        request = self._resolve(options, None if mask is None else read_source(mask))
        images = image if isinstance(image, list | tuple) else [image]
        results = [
            result
            for begin in range(0, len(images), IMAGES_AT_ONCE)
            for result in self._process(request, images[begin : begin + IMAGES_AT_ONCE])
        ]
        return results if isinstance(image, list | tuple) else results[0]

    @property
    def name(self) -> str:
        """What was loaded."""
        return self._target.expression if isinstance(self._target, Target) else f"×{self._target:g}"

    @property
    def versions(self) -> tuple[str, ...]:
        """name@version of each model that takes part; an image may call for more."""
        return tuple(model.label for model in self._models)

    @property
    def upscales(self) -> bool:
        """Whether it enlarges; else it paints."""
        return self._models[0].upscales

    @property
    def device(self) -> str:
        """Where it runs: cpu, cuda:0, or cuda:0,cuda:1."""
        return ",".join(str(runner.device) for runner in self._device.pool.runners)

    def close(self) -> None:
        """End its threads; a call that is running ends first. It cannot be called any more."""
        self._closed = True
        self._device.pool.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<pastiche.Model {', '.join(self.versions)} on {self.device}>"

    def _require_threads(self) -> None:
        """Raise RuntimeError where there is nobody who would compute, and a call would wait forever."""
        if self._closed:
            raise RuntimeError(f"{self.name} was closed; load it again")
        if os.getpid() != self._loaded_in:
            raise RuntimeError(f"{self.name} was loaded before this process was forked; load it in this process")

    def _resolve(self, options: dict[str, Any], mask: bytes | None = None) -> ResolvedRequest:
        request = self._request(options)
        if mask is not None and not request.accepts_mask:
            raise InvalidRequest("an upscaled image has no mask; leave it out")
        return resolve(request, self._catalogue, self._settings, mask)

    def _request(self, options: dict[str, Any]) -> ImageRequest:
        target = self._target
        if not isinstance(target, Target):
            return upscale_request(target, None, options)
        named = [self._catalogue.find(name) for name in target.names]
        if not named[0].upscales:
            return stylize_request(target.expression, options)
        return upscale_request(_product(named), target.expression, options)

    def _process(self, request: ResolvedRequest, images: Sequence[Source]) -> list[Any]:
        prepared = [self._prepare(request, read_source(image)) for image in images]
        plans, inputs = [each.plan for each in prepared], [each.inputs[0] for each in prepared]
        outputs = self._inference.run(plans, inputs)
        return [
            _answer(each.finish(output), each.source, image)
            for each, output, image in zip(prepared, outputs, images, strict=True)
        ]

    def _prepare(self, request: ResolvedRequest, image: bytes) -> Prepared:
        """The steps of `ImagePipeline` before the networks. Raises what that does."""
        header = inspect(image)
        if header.frames > 1:
            detail = f"the image has {header.frames} frames; give them one by one, or use the command pastiche"
            raise InvalidRequest(detail)
        plan = self._plan(request, header)
        mask_pixels = self._check_mask(request, header)
        if request.operation.damaged:
            request = replace(request, operation=request.operation.for_image(assess_image(image, header)))
            plan = self._plan(request, header)
        execution = Execution(request, plan, ImageFormat.PNG, (), header, mask_pixels, Trace(""))
        decoded = decode_frames(execution.decode_request(image))
        return Prepared(plan, decoded.inputs, decoded.source.load())

    def _plan(self, request: ResolvedRequest, header: ImageHeader) -> Plan:
        plan = plan_frame(request, header, ImageFormat.PNG)
        check_limits(self._limits, header, plan, ImageFormat.PNG)
        return plan

    def _check_mask(self, request: ResolvedRequest, header: ImageHeader) -> int:
        """The pixels of the mask, 0 where there is none."""
        if request.mask is not None:
            mask = inspect_mask(request.mask, Size(*header.upright_size), request.mask_meaning)
            self._limits.check_input(mask)
            return mask.pixels
        if request.operation.needs_mask:
            raise InvalidRequest("feather softens the edges of a mask; give mask=, too")
        return 0


def _answer(picture: Picture, source: SourceFrames, given: Source) -> Any:
    if isinstance(given, np.ndarray):
        return to_array(picture, source.image, given)
    return to_image(picture, source.image)


def _product(models: Sequence[ServedModel]) -> int:
    scale = 1
    for model in models:
        scale *= model.scale
    return scale
