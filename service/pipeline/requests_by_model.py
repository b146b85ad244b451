"""Requests of APIs that name a model alone: what is done with an image follows from the model."""

from collections.abc import Mapping
from typing import Any

from service.imaging.codecs import ImageFormat
from service.models.registry import ModelRegistry
from service.pipeline.requests import (
    ImageRequest,
    StylizeParameters,
    StylizeRequest,
    UpscaleParameters,
    UpscaleRequest,
)


def request_by_model(
    models: ModelRegistry,
    name: str,
    parameters: Mapping[str, Any],
    formats: tuple[ImageFormat, ...],
    timeout: float | None = None,
) -> ImageRequest:
    """Paint in a style, or in several that are mixed (`name:weight,…`); or enlarge by the scale of a network.

    Raises UnknownModel, ModelUnavailable, and pydantic's ValidationError for parameters that the operation does not
    have. Those of a mixture are looked up when the request is resolved.
    """
    model = None if ":" in name or "," in name else models.find(name)
    if model is None or not model.upscales:
        stylize = StylizeParameters.model_validate(parameters)
        return StylizeRequest(style=name, parameters=stylize, formats=formats, timeout=timeout)
    upscale = UpscaleParameters.model_validate({**parameters, "model": model.name})
    return UpscaleRequest(scale=model.scale, parameters=upscale, formats=formats, timeout=timeout)
