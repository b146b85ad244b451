"""In which formats an answer may be given (RFC 9110, section 12.5.1)."""

import re
from collections.abc import Mapping

from service.photographs.formats import ImageFormat, writable_types
from service.photographs.output import not_acceptable

JSON = "application/json"
"""What an answer can be beside an image: a text that has the image in it."""

WRITTEN = tuple(kind for kind in ImageFormat if kind.written)
OTHER_NAMES = {"jpg": "jpeg", "tif": "tiff", "apng": "png"}


def output_formats(requested: str | None, accept: str | None) -> tuple[ImageFormat, ...]:
    """The formats that the client likes best, equally: by the query's `format`, else by Accept.

    A client that accepts any image (a browser, which likes some formats better but means its own page's pictures) is
    taken at its word: all it does not refuse are equally good. Raises NotAcceptable with the list where there is none.
    """
    if requested is not None:
        name = requested.lower()
        formats = tuple(kind for kind in WRITTEN if kind == OTHER_NAMES.get(name, name))
    else:
        formats = _preferred(_weights(accept or "*/*"))
    if not formats and requested is not None:
        raise not_acceptable(f"format={requested}", writable_types())
    if not formats:
        raise not_acceptable(f"Accept: {accept}", [*writable_types(), JSON])
    return formats


def _preferred(weights: Mapping[str, float]) -> tuple[ImageFormat, ...]:
    qualities = {kind: _quality(weights, kind) for kind in WRITTEN}
    any_image = weights.get("image/*", weights.get("*/*", 0.0)) > 0
    least = 0.001 if any_image else max(qualities.values())
    return tuple(kind for kind, quality in qualities.items() if quality >= least > 0)


def _quality(weights: Mapping[str, float], kind: ImageFormat) -> float:
    """The weight of a format: that of the most specific range which covers it, 0 where none does."""
    others = [f"image/{name}" for name, known in OTHER_NAMES.items() if known == kind]
    return next((weights[name] for name in (kind.media_type, *others, "image/*", "*/*") if name in weights), 0.0)


def _weights(accept: str) -> dict[str, float]:
    weights: dict[str, float] = {}
    for element in accept.lower().split(","):
        name, *parameters = (part.strip() for part in element.split(";"))
        weights[name] = next((_weight(part) for part in parameters if part.startswith("q=")), 1.0)
    return weights


def _weight(parameter: str) -> float:
    return float(parameter[2:]) if re.fullmatch(r"q=[01](\.\d{0,3})?", parameter) else 0.0
