"""The image in a request's body, raw or as the part `image` of a multipart form, counted byte by byte as it arrives."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable
from typing import Any, TypeVar

from fastapi import Request
from starlette.requests import ClientDisconnect
from starlette.types import Receive

from service.codec import accepted_types
from service.errors import BodyTimeout, BodyTooLarge, ClientGone
from service.form import FIELD, ImageForm

Result = TypeVar("Result")


def described() -> dict[str, Any]:
    """The body for the OpenAPI document, which does not know it: it is read here and not by the framework."""
    image = {"type": "string", "format": "binary", "description": "the bytes of a JPEG, PNG or WebP file"}
    form = {"type": "object", "properties": {FIELD: image}, "required": [FIELD]}
    raw = {media_type: {"schema": image} for media_type in accepted_types()}
    return {"requestBody": {"required": True, "content": {**raw, "multipart/form-data": {"schema": form}}}}


async def read_image(request: Request, limit: int, seconds: float) -> bytes:
    """The bytes of the image. The raw body's Content-Type does not matter: the codec goes by content.

    Raises BodyTooLarge as soon as more than `limit` bytes are announced or have come, BodyTimeout after `seconds`,
    MalformedBody where a form is not one part named `image`, ClientGone where the client leaves.
    """
    try:
        async with asyncio.timeout(seconds):
            chunks = _counted(request, limit)
            if not _is_form(request):
                return b"".join([chunk async for chunk in chunks])
            form = ImageForm(request.headers["Content-Type"])
            async for chunk in chunks:
                form.feed(chunk)
            return form.image()
    except TimeoutError as error:
        raise BodyTimeout(f"the body must arrive within {seconds:g} s", headers={"Connection": "close"}) from error
    except ClientDisconnect as error:
        raise ClientGone("the client left while it sent the body") from error


async def while_connected(receive: Receive, work: Awaitable[Result]) -> Result:
    """The result of `work`, or, as soon as the client has left, ClientGone; `work` is cancelled then.

    To be called when the body has been read: what comes after it is a disconnection or nothing.
    """
    working = asyncio.ensure_future(work)
    watching = asyncio.ensure_future(_disconnection(receive))
    try:
        await asyncio.wait((working, watching), return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ClientGone("the client left before its answer was ready")
        return await working
    finally:
        working.cancel()
        watching.cancel()
        await asyncio.gather(working, watching, return_exceptions=True)


def _is_form(request: Request) -> bool:
    return request.headers.get("Content-Type", "").lower().startswith("multipart/form-data")


async def _disconnection(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _counted(request: Request, limit: int) -> AsyncGenerator[bytes, None]:
    announced = request.headers.get("Content-Length", "0")
    arrived = int(announced) if announced.isdecimal() else 0
    _check(arrived, limit)
    arrived = 0
    async for chunk in request.stream():
        arrived += len(chunk)
        _check(arrived, limit)
        yield chunk


def _check(arrived: int, limit: int) -> None:
    if arrived > limit:
        raise BodyTooLarge(
            f"a body has at most {limit} bytes here",
            limit="max_body_bytes",
            actual=arrived,
            max_accepted=limit,
        )
