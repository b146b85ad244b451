"""Reads request bodies: an image, raw or in a multipart form. Bytes are counted as they arrive and are decoded."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Collection
from dataclasses import dataclass
from typing import Any

from fastapi import Request

from service.errors import BodyTooLarge
from service.http.content_coding import CODINGS, decode_stream, parse_coding
from service.http.middleware.body_reservation import Upload
from service.http.multipart import IMAGE, MASK, ImageForm, MultipartForm
from service.imaging.codecs import readable_types
from service.pipeline.requests import InputFiles

FORM = "multipart/form-data"


@dataclass(frozen=True)
class BodyLimit:
    """The most bytes of a body."""

    bytes: int
    name: str = "max_body_bytes"
    subject: str = "a body"

    def check(self, length: int) -> None:
        """Raise BodyTooLarge where a body has more."""
        if length > self.bytes:
            detail = f"{self.subject} has at most {self.bytes} bytes here"
            raise BodyTooLarge(detail, limit=self.name, actual=length, max_accepted=self.bytes)


async def read_files(request: Request, limit: int, seconds: float, *, accepts_mask: bool = False) -> InputFiles:
    """The files of a request. The Content-Type of a raw body does not matter: images are known by their content.

    A Content-Encoding is undone. Raises BodyTooLarge as soon as more than `limit` bytes are announced, have come or
    have been decoded, TooManyUploads where there is no memory for them, BodyTimeout after `seconds` or where they come
    too slowly, ClientGone where the client leaves, UnsupportedCoding, MalformedBody where the coding is broken or a
    form is not one part `image` and at most one `mask`.
    """
    if is_form(request):
        form = ImageForm(request.headers["Content-Type"], (MASK,) if accepts_mask else ())
        await read_form(request, form, limit, seconds)
        return InputFiles(form.image(), form.part(MASK))
    return InputFiles(await read_body(request, limit, seconds))


async def read_body(request: Request, limit: int, seconds: float) -> bytes:
    """A whole body, whose Content-Encoding is undone. Raises as `read_files`."""
    received: list[bytes] = []
    await _receive(request, received.append, BodyLimit(limit), seconds)
    return b"".join(received)


async def read_form(request: Request, form: MultipartForm, limit: int, seconds: float) -> None:
    """Feed a form with the body. Raises as `read_files`."""
    await _receive(request, form.feed, BodyLimit(limit), seconds)


async def read_plain(request: Request, limit: BodyLimit, seconds: float) -> bytes:
    """A body that may have no Content-Encoding, as it is. Raises as `read_files`."""
    received: list[bytes] = []
    await _receive(request, received.append, limit, seconds, codings=())
    return b"".join(received)


async def read_undecoded(request: Request, limit: int, seconds: float) -> bytes:
    """A whole body with its Content-Encoding, for a process that undoes it. Raises as `read_files`."""
    received: list[bytes] = []
    await _receive(request, received.append, BodyLimit(limit), seconds, codings=None)
    return b"".join(received)


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


async def _receive(
    request: Request,
    take: Callable[[bytes], None],
    limit: BodyLimit,
    seconds: float,
    codings: Collection[str] | None = CODINGS,
) -> None:
    """Give the body to `take`, in pieces and without its Content-Encoding, with its bytes reserved before each.

    Without `codings` the Content-Encoding stays.
    """
    upload: Upload = request.state.upload
    clock = asyncio.get_running_loop().time
    began = clock()
    coding = None if codings is None else parse_coding(request.headers.getlist("Content-Encoding"), codings)
    announced = _announced_length(request)
    limit.check(announced)
    await upload.reserve(0 if coding else announced, seconds)
    chunks = upload.pace.for_body(announced, seconds).chunks(request.receive, began, seconds)
    length = 0
    async for piece in decode_stream(_counted(chunks, limit), coding) if coding else chunks:
        length += len(piece)
        limit.check(length)
        await upload.grow(length, began + seconds - clock())
        take(piece)


def _announced_length(request: Request) -> int:
    announced = request.headers.get("Content-Length", "")
    return int(announced) if announced.isdecimal() else 0


async def _counted(chunks: AsyncIterable[bytes], limit: BodyLimit) -> AsyncGenerator[bytes, None]:
    length = 0
    async for chunk in chunks:
        length += len(chunk)
        limit.check(length)
        yield chunk
