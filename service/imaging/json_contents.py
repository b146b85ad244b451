"""JSON documents that carry files and pixels: taken apart in a codec worker, since parsing one can take seconds."""

import base64
import binascii
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np

from service.errors import InvalidRequest, MalformedJson

MAX_DOCUMENT_BYTES = 2**16
"""Of what is left of a document without its contents."""

EACH = "*"
"""In a path: every element of an array."""

DATA_URL = ";base64,"
"""What comes before the base64 in a data URL (RFC 2397)."""

Path = Sequence[str]


@dataclass(frozen=True)
class TakenApart:
    """A JSON document without its contents, each of which became `null`."""

    document: bytes
    contents: tuple[bytes, ...]
    """Files, and values of arrays as uint8, in the order of the document; of an array of files each one."""


def take_apart(body: bytes, paths: Sequence[Path]) -> TakenApart:
    """Take the contents at these paths out of a JSON object. A path leads through objects, by name, and arrays.

    A content is base64, also as a data URL; an array of such; or an array, nested or not, of whole numbers from 0 to
    255. What a path does not lead to is no content. Raises MalformedJson, and InvalidRequest for other contents.
    """
    document = _parse(body)
    contents = [content for path in paths for content in _take(document, path, "")]
    left = json.dumps(document).encode()
    if len(left) > MAX_DOCUMENT_BYTES:
        raise InvalidRequest(
            f"the body has {len(left)} bytes beside its images; at most {MAX_DOCUMENT_BYTES} are accepted"
        )
    return TakenApart(left, tuple(contents))


def _parse(body: bytes) -> dict[str, Any]:
    try:
        document = json.loads(body, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise MalformedJson(f"the body cannot be parsed: {error}; send JSON in UTF-8") from error
    if not isinstance(document, dict):
        raise MalformedJson("the body is no JSON object")
    return document


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"there is no {name} in JSON")


def _take(parent: Any, path: Path, where: str) -> Iterator[bytes]:
    """Replace what is at the path by None, and yield it as bytes."""
    name, *rest = path
    for key in _keys(parent, name):
        here = f"{where}.{key}".lstrip(".")
        if rest:
            yield from _take(parent[key], rest, here)
        elif isinstance(parent[key], str | list):
            yield from _read(parent[key], here)
            parent[key] = None


def _keys(parent: Any, name: str) -> Sequence[str] | range:
    """What a step of a path leads to."""
    if name == EACH:
        return range(len(parent)) if isinstance(parent, list) else ()
    return (name,) if isinstance(parent, dict) and name in parent else ()


def _read(value: str | list[Any], where: str) -> list[bytes]:
    if isinstance(value, str):
        return [_decode(value, where)]
    if value and all(isinstance(item, str) for item in value):
        return [_decode(item, where) for item in value]
    return [_pack(value, where)]


def _decode(text: str, where: str) -> bytes:
    if text.startswith("data:") and DATA_URL in text:
        text = text.partition(DATA_URL)[2]
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise InvalidRequest(f"{where}: it is no base64; send the bytes of a file as base64 (RFC 4648)") from error


def _pack(values: list[Any], where: str) -> bytes:
    """The values of an array, nested or not, in order, as uint8."""
    refusal = InvalidRequest(f"{where}: its values must be whole numbers from 0 to 255, or files as base64")
    try:
        array = np.array(values)
    except (ValueError, OverflowError) as error:  # of several lengths; or more than 64 bits
        raise refusal from error
    if array.size and (array.dtype.kind != "i" or array.min() < 0 or array.max() > 255):
        raise refusal
    return array.astype(np.uint8).tobytes()
