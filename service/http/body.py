"""Reads request bodies: an image, raw or in a multipart form. Bytes are counted as they arrive and are decoded."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, Callable
from typing import Any

from fastapi import Request
from starlette.requests import ClientDisconnect

from service.errors import BodyTimeout, BodyTooLarge, ClientGone
from service.http.content_coding import decode_stream, parse_coding
from service.http.multipart import IMAGE, MASK, ImageForm, MultipartForm
from service.imaging.codecs import readable_types
from service.pipeline.requests import InputFiles

FORM = "multipart/form-data"


async def read_files(request: Request, limit: int, seconds: float, *, accepts_mask: bool = False) -> InputFiles:
    """The files of a request. The Content-Type of a raw body does not matter: images are known by their content.

    A Content-Encoding is undone. Raises BodyTooLarge as soon as more than `limit` bytes are announced, have come or
    have been decoded, BodyTimeout after `seconds`, ClientGone where the client leaves, UnsupportedCoding, MalformedBody
    where the coding is broken or a form is not one part `image` and at most one `mask`.
    """
    if is_form(request):
        form = ImageForm(request.headers["Content-Type"], (MASK,) if accepts_mask else ())
        await read_form(request, form, limit, seconds)
        return InputFiles(form.image(), form.part(MASK))
    received: list[bytes] = []
    await _receive(request, received.append, limit, seconds)
    return InputFiles(b"".join(received))


async def read_form(request: Request, form: MultipartForm, limit: int, seconds: float) -> None:
    """Feed a form with the body. Raises as `read_files`."""
    await _receive(request, form.feed, limit, seconds)


def is_form(request: Request) -> bool:
    """Whether the body is a multipart form."""
    return request.headers.get("Content-Type", "").lower().startswith(FORM)


def request_body_schema(*, accepts_mask: bool) -> dict[str, Any]:
    """The body of an endpoint for the OpenAPI document. The framework does not know it, as it does not read it."""
    image = {"type": "string", "format": "binary", "description": "the bytes of a file of one of these types"}
    mask = image | {
        "description": "a grey image of the same aspect: white where it is painted, black where the photograph stays"
    }
    parts = {IMAGE: image} | ({MASK: mask} if accepts_mask else {})
    form = {"type": "object", "properties": parts, "required": [IMAGE]}
    raw = {media_type: {"schema": image} for media_type in readable_types()}
    return {"requestBody": {"required": True, "content": {**raw, FORM: {"schema": form}}}}


async def _receive(request: Request, take: Callable[[bytes], None], limit: int, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            async for chunk in _decoded_body(request, limit):
                take(chunk)
    except TimeoutError as error:
        raise BodyTimeout(f"the body must arrive within {seconds:g} s") from error
    except ClientDisconnect as error:
        raise ClientGone("the client left while it sent the body") from error


async def _decoded_body(request: Request, limit: int) -> AsyncGenerator[bytes, None]:
    """The body without its Content-Encoding, counted before and after it is decoded."""
    coding = parse_coding(request.headers.getlist("Content-Encoding"))
    announced = request.headers.get("Content-Length", "0")
    _check_length(int(announced) if announced.isdecimal() else 0, limit)
    async for chunk in _counted(decode_stream(_counted(request.stream(), limit), coding), limit):
        yield chunk


async def _counted(chunks: AsyncIterable[bytes], limit: int) -> AsyncGenerator[bytes, None]:
    length = 0
    async for chunk in chunks:
        length += len(chunk)
        _check_length(length, limit)
        yield chunk


def _check_length(length: int, limit: int) -> None:
    if length > limit:
        detail = f"a body has at most {limit} bytes here"
        raise BodyTooLarge(detail, limit="max_body_bytes", actual=length, max_accepted=limit)
