"""Content negotiation: the Accept header and the query's `format` (RFC 9110, section 12.5.1)."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Self

from service.errors import NotAcceptable
from service.imaging.codecs import EXTENSIONS, WRITTEN_FORMATS, ImageFormat, writable_types

JSON = "application/json"
"""The media type of an answer that holds the image as base64."""

HTML = "text/html"

WEIGHT = re.compile(r"(0(\.\d{0,3})?|1(\.0{0,3})?)")
"""A quality value (RFC 9110, section 12.4.2)."""


@dataclass(frozen=True)
class Accept:
    """What the Accept headers of a request say; without any, everything is acceptable."""

    text: str
    weights: Mapping[str, float]
    """Quality values by media range, in lower case and without parameters. A malformed quality value is 0."""

    @classmethod
    def parse(cls, headers: Iterable[str]) -> Self:
        """Of the values of all Accept headers."""
        text = ", ".join(headers)
        elements = [element for element in text.lower().split(",") if element.strip()]
        return cls(text, {_media_range(element): _quality(element) for element in elements})

    @property
    def prefers_json(self) -> bool:
        """Whether the client names JSON, or application/*, and prefers it to every image."""
        images = max(self._image_weights().values(), default=0.0)
        return self.weights.get(JSON, self.weights.get("application/*", 0.0)) > images

    @property
    def prefers_html(self) -> bool:
        """Whether the client names HTML, as every browser does that opens a page, and prefers it to JSON."""
        return self.weights.get(HTML, 0.0) > self.weights.get(JSON, self.weights.get("application/*", 0.0))

    def formats(self, requested: str | None = None) -> tuple[ImageFormat, ...]:
        """The formats that the client likes best, equally: that of the query's `format`, else by the header.

        For a client that prefers JSON they are those of the image in it. Raises NotAcceptable where there is none.
        """
        if requested is not None:
            return requested_formats(requested)
        weights = self._image_weights()
        if not weights and (not self.weights or self.prefers_json):
            return WRITTEN_FORMATS
        return _preferred(weights) or _refuse(f"Accept: {self.text}", [*writable_types(), JSON])

    def _image_weights(self) -> dict[str, float]:
        return {name: weight for name, weight in self.weights.items() if name == "*/*" or name.startswith("image/")}


def requested_formats(requested: str | None) -> tuple[ImageFormat, ...]:
    """The format of that name, or of files with that extension; all where none is named.

    Raises NotAcceptable for one that is not written.
    """
    if requested is None:
        return WRITTEN_FORMATS
    name = requested.lower().removeprefix(".")
    formats = tuple(image_format for image_format in WRITTEN_FORMATS if image_format == EXTENSIONS.get(name, name))
    return formats or _refuse(f"format={requested}", writable_types())


def _media_range(element: str) -> str:
    return element.partition(";")[0].strip()


def _quality(element: str) -> float:
    parameters = (part.strip() for part in element.split(";")[1:])
    text = next((part.removeprefix("q=") for part in parameters if part.startswith("q=")), "1")
    return float(text) if WEIGHT.fullmatch(text) else 0.0


def _preferred(weights: Mapping[str, float]) -> tuple[ImageFormat, ...]:
    """The formats of the highest weight; all that are not refused where a wildcard is accepted.

    A browser names its favourites and adds a wildcard; it means the pictures of pages and takes any other just as well.
    """
    of_format = {image_format: _weight_of(image_format, weights) for image_format in WRITTEN_FORMATS}
    any_image = weights.get("image/*", weights.get("*/*", 0.0)) > 0
    least = 0.001 if any_image else max(of_format.values())
    return tuple(image_format for image_format, weight in of_format.items() if weight >= least > 0)


def _weight_of(image_format: ImageFormat, weights: Mapping[str, float]) -> float:
    """The weight of the most specific media range that covers the format, 0 where none does."""
    aliases = [f"image/{alias}" for alias, name in EXTENSIONS.items() if name == image_format]
    return next(
        (weights[name] for name in (image_format.media_type, *aliases, "image/*", "*/*") if name in weights), 0.0
    )


def _refuse(asked: str, available: Sequence[str]) -> tuple[ImageFormat, ...]:
    raise NotAcceptable(f"{asked} leaves none of {', '.join(available)}", available=list(available))
