"""Answers and errors as clients of the web UI expect them."""

import base64
import html
from collections.abc import Sequence
from typing import Self

from fastapi import Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

from service.errors import ServiceError
from service.http.problems import failure_headers
from service.models.served_model import ServedModel
from service.pipeline.result import FinishedImage
from service.pipeline.upscale import AUTO

AUTO_SCALE = 4


class Upscaler(BaseModel):
    """A network that enlarges, as the web UI lists it."""

    name: str = Field(description="for upscaler_1")
    model_name: str | None
    model_path: None = None
    model_url: None = None
    scale: float

    @classmethod
    def every(cls, models: Sequence[ServedModel]) -> list[Self]:
        """The choice by what is found in the image, and each network that enlarges."""
        automatic = cls(name=AUTO, model_name=None, scale=AUTO_SCALE)
        return [automatic, *(cls(name=m.name, model_name=m.label, scale=m.scale) for m in models if m.upscales)]


class EnlargedImages(BaseModel):
    """Several enlarged images."""

    html_info: str = Field(description="which networks made them, and their sizes")
    images: list[str] = Field(description="PNG files as base64")

    @classmethod
    def of(cls, images: Sequence[FinishedImage]) -> Self:
        """Finished images in the words of the web UI."""
        return cls(html_info="".join(map(_describe, images)), images=list(map(_encode, images)))


class EnlargedImage(BaseModel):
    """One enlarged image."""

    html_info: str = Field(description="which network made it, and its size")
    image: str = Field(description="a PNG file as base64")

    @classmethod
    def of(cls, image: FinishedImage) -> Self:
        """A finished image in the words of the web UI."""
        return cls(html_info=_describe(image), image=_encode(image))


class WebUIError(BaseModel):
    """The body of every failure."""

    error: str = Field(description="the kind of problem in words")
    detail: str
    body: str = ""
    errors: str = Field(description="detail again")


def render_webui_error(failure: ServiceError, instance: str, _prefix: str = "") -> Response:
    """A failure as the web UI has it; a `Renderer`."""
    content = WebUIError(error=failure.title, detail=failure.detail, errors=failure.detail)
    return JSONResponse(content.model_dump(), failure.status, failure_headers(failure, instance))


def _describe(image: FinishedImage) -> str:
    result = image.result
    return f"<p>{html.escape(result.label)}: {result.width}×{result.height}</p>"


def _encode(image: FinishedImage) -> str:
    return base64.b64encode(image.content).decode()
