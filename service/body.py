"""The images in a request's body, raw or as the parts of a multipart form, counted byte by byte as they arrive."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection
from dataclasses import dataclass
from typing import Any, TypeVar

from fastapi import Request
from starlette.requests import ClientDisconnect
from starlette.types import Receive

from service.errors import BodyTimeout, BodyTooLarge, ClientGone
from service.form import FIELD, MASK, Form, ImageForm
from service.photographs import readable_types

Result = TypeVar("Result")

PARTS = {MASK: "a grey image of the same aspect: white where it is painted, black where the photograph stays"}
"""What the parts of a form are that an endpoint may accept."""


@dataclass(frozen=True)
class Body:
    """The files that a request holds."""

    image: bytes
    mask: bytes | None = None


def described(optional: Collection[str] = ()) -> dict[str, Any]:
    """The body for the OpenAPI document, which does not know it: it is read here and not by the framework.

    `optional` are the parts that a form may have beside the image.
    """
    image = {"type": "string", "format": "binary", "description": "the bytes of a file of one of these types"}
    parts = {FIELD: image} | {name: image | {"description": PARTS[name]} for name in optional}
    form = {"type": "object", "properties": parts, "required": [FIELD]}
    raw = {media_type: {"schema": image} for media_type in readable_types()}
    return {"requestBody": {"required": True, "content": {**raw, "multipart/form-data": {"schema": form}}}}


async def read_body(request: Request, limit: int, seconds: float, optional: Collection[str] = ()) -> Body:
    """The bytes of the image and of what else there may be. The raw body's Content-Type does not matter.

    Raises BodyTooLarge as soon as more than `limit` bytes are announced or have come, BodyTimeout after `seconds`,
    MalformedBody where a form is not one part named `image` and at most one of each of `optional`, ClientGone where the
    client leaves.
    """
    if _is_form(request):
        form = ImageForm(request.headers["Content-Type"], optional)
        await read_form(request, form, limit, seconds)
        return Body(form.image(), form.part(MASK))
    received: list[bytes] = []
    await _receive(request, received.append, limit, seconds)
    return Body(b"".join(received))


async def read_form(request: Request, form: Form, limit: int, seconds: float) -> None:
    """Feed a form with the body; raises as `read_body`."""
    await _receive(request, form.feed, limit, seconds)


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


async def _receive(request: Request, take: Callable[[bytes], None], limit: int, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            async for chunk in _counted(request, limit):
                take(chunk)
    except TimeoutError as error:
        raise BodyTimeout(f"the body must arrive within {seconds:g} s", headers={"Connection": "close"}) from error
    except ClientDisconnect as error:
        raise ClientGone("the client left while it sent the body") from error


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
