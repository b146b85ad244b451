"""The options of the service as keyword arguments, and as a query. They are explained in `docs/api.md`."""

import math
from collections.abc import Mapping
from typing import Literal, TypedDict

Format = Literal["jpeg", "png", "webp", "avif", "tiff", "gif", "jpg", "jpe", "jfif", "pjp", "pjpeg", "tif", "apng"]

Style = str | Mapping[str, float]
"""A style, or several with their weights."""


class OutputOptions(TypedDict, total=False):
    """How the answer is written, and how urgent it is."""

    format: Format | None
    quality: int
    lossless: bool
    progressive: bool
    subsampling: Literal["444", "420"]
    metadata: Literal["strip", "copyright", "keep"]
    priority: Literal["interactive", "bulk"]


class _StylizeOptions(TypedDict, total=False):
    strength: float
    preserve_color: bool
    size: int | Literal["native"] | None
    enlarge: Literal["auto", "network", "lanczos"]
    output_size: int | None
    feather: float


class _UpscaleOptions(TypedDict, total=False):
    model: str
    denoise: float | None
    width: int | None
    height: int | None
    fit: Literal["inside", "cover", "fill"]
    back_projection: bool | None


class StylizeOptions(_StylizeOptions, OutputOptions, total=False):
    """Of `stylize`."""


class UpscaleOptions(_UpscaleOptions, OutputOptions, total=False):
    """Of `upscale`."""


class CallOptions(_StylizeOptions, _UpscaleOptions, OutputOptions, total=False):
    """Of a job or an estimate: those of the call that it is about."""


def query(options: Mapping[str, object]) -> dict[str, str]:
    """The options as the service reads them; one that is None is left out."""
    return {name: _text(value) for name, value in options.items() if value is not None}


def mixture(style: Style) -> str:
    """`great-wave:0.7,the-scream:0.3` for weights by name; a name stays as it is.

    The service reads six digits before and after the point: where these lose something, weights are told as parts of
    the largest.
    """
    if isinstance(style, str):
        return style
    largest = max(style.values(), default=0)
    unit = largest if 0 < largest < 0.1 or 999_999 < largest < math.inf else 1
    return ",".join(f"{name}:{weight / unit:.6f}" for name, weight in style.items())


def _text(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return str(value)
