"""Answers and errors of `POST /v1/images/edits` in OpenAI's form."""

import base64
import time

from fastapi import Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

from service.errors import ServiceError
from service.http.problems import failure_headers
from service.pipeline.result import FinishedImage


class EditedImage(BaseModel):
    """An entry of `data`."""

    b64_json: str = Field(description="the file, base64")


class EditResponse(BaseModel):
    """OpenAI's ImagesResponse, as far as it applies."""

    created: int = Field(description="seconds since 1970")
    data: list[EditedImage]
    output_format: str
    size: str = Field(description="width×height in pixels", examples=["1024x768"])

    @classmethod
    def of(cls, image: FinishedImage) -> "EditResponse":
        """A finished image in OpenAI's words."""
        edited = EditedImage(b64_json=base64.b64encode(image.content).decode())
        size = f"{image.result.width}x{image.result.height}"
        return cls(created=int(time.time()), data=[edited], output_format=image.result.format, size=size)


class OpenAIFault(BaseModel):
    """What OpenAI says of a failure."""

    message: str
    type: str = Field(description="invalid_request_error, or server_error")
    param: str | None
    code: str = Field(description="the kind of problem, as at /problems")


class OpenAIError(BaseModel):
    """The envelope of every failure of this endpoint."""

    error: OpenAIFault


def openai_error(failure: ServiceError, instance: str, _prefix: str = "") -> Response:
    """A failure as OpenAI's error object; a `Renderer`."""
    kind = "invalid_request_error" if failure.status < 500 else "server_error"
    param = failure.members.get("param")
    fault = OpenAIFault(
        message=failure.detail, type=kind, param=str(param) if param is not None else None, code=failure.kind
    )
    headers = failure_headers(failure, instance)
    return JSONResponse(OpenAIError(error=fault).model_dump(), failure.status, headers)
