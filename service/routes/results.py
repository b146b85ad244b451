"""How a finished image is answered: as itself, or as JSON; and not again to a client that has it."""

import asyncio
import base64
from collections.abc import Sequence
from typing import Any

from fastapi import Request, Response
from pydantic import Field

from service.photographs import JSON, writable_types
from service.representation import wants_json
from service.results import Painting, Result
from service.trace import Trace


class JsonResult(Result):
    """An image as `Accept: application/json` gets it."""

    image: str = Field(description="the file, base64 (RFC 4648)", json_schema_extra={"contentEncoding": "base64"})


async def respond(request: Request, painting: Painting) -> Response:
    """The image in the form that the request accepts."""
    trace: Trace = request.state.trace
    result, headers = painting.result, _headers(request, painting.result)
    headers |= {"Server-Timing": trace.server_timing()} if trace.durations else {}
    if wants_json(request.headers.get("Accept")):
        content = await asyncio.to_thread(_json, painting)  # a large one takes as long as many requests
        return Response(content, media_type=JSON, headers=headers)
    return Response(painting.content, media_type=result.media_type, headers=headers)


def unchanged(known: Sequence[str] | None, etag: str) -> bool:
    """Whether If-None-Match has the entity tag of a file (RFC 9110, section 13.1.2)."""
    offered = {tag.strip().removeprefix("W/") for tag in ",".join(known or ()).split(",")}
    return bool(offered & {etag, "*"})


def not_modified(request: Request, result: Result) -> Response:
    """The answer to a client that has it."""
    return Response(status_code=304, headers=_headers(request, result))


def described(description: str = "The image") -> dict[str, Any]:
    """A finished image for the OpenAPI document."""
    file = {"schema": {"type": "string", "format": "binary"}}
    texts = {
        "ETag": "equal exactly where the files are",
        "Server-Timing": "milliseconds of read, decode, queue, infer and encode",
        "X-Model": "name@version of the network; of several, separated by commas, in order or the heaviest first",
        "X-Model-Digest": "sha256 of its weights, or theirs",
        "X-Request-ID": "the request's own, or a new one",
    }
    return {
        "model": JsonResult,
        "description": description,
        "content": dict.fromkeys(writable_types(), file),
        "headers": {name: {"description": text, "schema": {"type": "string"}} for name, text in texts.items()},
    }


def _json(painting: Painting) -> str:
    image = base64.b64encode(painting.content).decode()
    return JsonResult(**dict(painting.result), image=image).model_dump_json()


def _headers(request: Request, result: Result) -> dict[str, str]:
    weak = "W/" if wants_json(request.headers.get("Accept")) else ""  # the JSON says, too, how long it took
    return {
        "ETag": weak + result.etag,
        "Vary": "Accept",
        "X-Content-Type-Options": "nosniff",
        "X-Model": result.label,
        "X-Model-Digest": result.digest,
    }
