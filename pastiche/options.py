"""What a call asks for: names of models, with versions, and the service's options, checked."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from service.errors import InvalidRequest
from service.imaging.codecs import ImageFormat
from service.pipeline.requests import StylizeParameters, StylizeRequest, UpscaleParameters, UpscaleRequest
from service.pipeline.stylize import StylizeOptions
from service.pipeline.upscale import UpscaleOptions
from service.settings import wrong_values

PART = re.compile(r"\s*([^@:]*?)\s*(?:@([0-9]{1,9}))?\s*(:[^@:]*)?")
"""NAME, NAME@VERSION, NAME:WEIGHT or NAME@VERSION:WEIGHT."""

FORMATS = (ImageFormat.PNG,)
"""In which an answer would lose nothing."""

Checked = TypeVar("Checked", bound=BaseModel)


@dataclass(frozen=True)
class Target:
    """The models that were named: a style, a mixture of styles, or upscaling networks that run in turn."""

    expression: str
    """As the service takes it: without versions."""
    names: tuple[str, ...]
    pinned: Mapping[str, int] = field(default_factory=dict)
    """The versions that were named, by the names of their models."""

    @classmethod
    def parse(cls, text: str) -> "Target":
        """Raises InvalidRequest."""
        parts = [PART.fullmatch(part) for part in text.split(",")]
        if not all(part and part[1] for part in parts):
            accepted = "great-wave, great-wave@3, great-wave:0.7,the-scream:0.3, x4, or a number, as 4"
            raise InvalidRequest(f"{text!r} names no model; accepted are names such as {accepted}")
        found = [part for part in parts if part]
        pinned = {part[1]: int(part[2]) for part in found if part[2]}
        return cls(",".join(part[1] + (part[3] or "") for part in found), tuple(part[1] for part in found), pinned)


def stylize_request(style: str, options: Mapping[str, Any]) -> StylizeRequest:
    """Raises InvalidRequest for options that the service would not accept."""
    _require_known(options, StylizeOptions.model_fields, "a style")
    parameters = checked(StylizeParameters, options)
    return StylizeRequest(style=style, formats=FORMATS, parameters=parameters)


def upscale_request(scale: float, models: str | None, options: Mapping[str, Any]) -> UpscaleRequest:
    """By these models, separated by commas, where they were named. Raises InvalidRequest, as `stylize_request`."""
    _require_known(options, {**UpscaleOptions.model_fields, "scale": None}, "an upscaler")
    named = {"model": models} if models is not None else {}
    rest = {name: value for name, value in options.items() if name != "scale"}
    parameters = checked(UpscaleParameters, named | rest)
    return checked(UpscaleRequest, {"scale": options.get("scale", scale), "formats": FORMATS, "parameters": parameters})


def checked(model: type[Checked], values: Mapping[str, Any]) -> Checked:
    """The values as that model. Raises InvalidRequest with what is accepted."""
    try:
        return model(**values)
    except ValidationError as error:
        raise InvalidRequest("; ".join(_explain(failure) for failure in wrong_values(error))) from error


def _explain(failure: Mapping[str, Any]) -> str:
    name, complaint = ".".join(map(str, failure["loc"])), failure["msg"].removeprefix("Value error, ")
    return f"{name} is {failure['input']!r}: {complaint}"


def _require_known(options: Mapping[str, Any], known: Mapping[str, Any], what: str) -> None:
    for name in options:
        if name not in known:
            near = get_close_matches(name, known, 1)
            hint = f"; did you mean {near[0]}?" if near else "."
            raise InvalidRequest(f"{what} has no option {name!r}{hint} There are: {', '.join(sorted(known))}")
