"""Responses with a finished image, as the file or as JSON, and conditional ones, also of other contents."""

import asyncio
import base64
import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import Response
from pydantic import Field

from service.http.content_negotiation import JSON
from service.imaging.codecs import writable_types
from service.pipeline.result import FinishedImage, Result
from service.pipeline.trace import Trace


class JsonResult(Result):
    """A finished image as `Accept: application/json` gets it."""

    image: str = Field(description="the file, base64 (RFC 4648)", json_schema_extra={"contentEncoding": "base64"})


async def image_response(image: FinishedImage, trace: Trace, *, as_json: bool) -> Response:
    """The image as its file, or as JSON with all that is known of it."""
    result = image.result
    headers = _headers(result, as_json=as_json)
    headers |= {"Server-Timing": trace.server_timing()} if trace.durations else {}
    if as_json:
        content = await asyncio.to_thread(_to_json, image)  # for a large image too slow for the event loop
        return Response(content, media_type=JSON, headers=headers)
    return Response(image.content, media_type=result.media_type, headers=headers)


def not_modified(result: Result, *, as_json: bool) -> Response:
    """The response to a client that has the image already."""
    return Response(status_code=304, headers=_headers(result, as_json=as_json))


def entity_tag(result: Result, *, as_json: bool) -> str:
    """The entity tag of the file, or of the JSON with it: another representation has another one (RFC 9110, 8.8.3).

    That of the JSON is weak, as its timings differ from time to time.
    """
    return f'W/"{result.etag[1:-1]}-json"' if as_json else result.etag


def matches_etag(if_none_match: Sequence[str] | None, etag: str) -> bool:
    """Whether the values of If-None-Match contain the entity tag, by weak comparison (RFC 9110, section 13.1.2)."""
    offered = {tag.strip().removeprefix("W/") for tag in ",".join(if_none_match or ()).split(",")}
    return bool(offered & {etag.removeprefix("W/"), "*"})


def content_tag(content: bytes) -> str:
    """A strong entity tag: another one for every other content."""
    return f'"{hashlib.sha256(content).hexdigest()[:32]}"'


def conditional_response(if_none_match: Sequence[str] | None, content: bytes, headers: Mapping[str, str]) -> Response:
    """The content, or 304 where the client has that of the same `ETag`, which is one of the headers."""
    if matches_etag(if_none_match, headers["ETag"]):
        return Response(status_code=304, headers=dict(headers))
    return Response(content, headers=dict(headers))


def image_response_schema(description: str = "The image") -> dict[str, Any]:
    """A finished image for the OpenAPI document."""
    file = {"schema": {"type": "string", "format": "binary"}}
    texts = {
        "ETag": "two answers with the same tag have the same bytes",
        "Server-Timing": "milliseconds of read, assess, decode, queue, infer and encode",
        "X-Model": "name@version of the network; of several, separated by commas, in order or the heaviest first",
        "X-Model-Reason": "what was found in the photograph, where that decided on the network (model=auto)",
        "X-Model-Digest": "sha256 of its weights, or theirs",
        "X-Request-ID": "the request's own, or a new one",
    }
    return {
        "model": JsonResult,
        "description": description,
        "content": dict.fromkeys(writable_types(), file),
        "headers": {name: {"description": text, "schema": {"type": "string"}} for name, text in texts.items()},
    }


def _to_json(image: FinishedImage) -> str:
    content = base64.b64encode(image.content).decode()
    return JsonResult(**dict(image.result), image=content).model_dump_json()


def _headers(result: Result, *, as_json: bool) -> dict[str, str]:
    reason = {"X-Model-Reason": result.verdict} if result.verdict else {}
    return reason | {
        "ETag": entity_tag(result, as_json=as_json),
        "Vary": "Accept",
        "X-Content-Type-Options": "nosniff",
        "X-Model": result.label,
        "X-Model-Digest": result.digest,
    }
