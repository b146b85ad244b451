"""Request classes: a refusal of one request holds for all others of its class.

A class consists of what the head of a request says, read without parsing the body.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import unquote

from httptools import parse_url

from service.http.middleware.path_normalization import normalize_path
from service.http.prefer import Preference

ANY_SIZE = -1
"""The size class of a refusal that did not depend on the size of the image."""

Fields = Sequence[tuple[bytes, bytes]]
"""The header fields of a request: names in lower case, values."""

CREDENTIALS = (b"authorization", b"x-api-key")
UNCLASSIFIED = (b"content-encoding", b"origin", b"x-forwarded-prefix")
"""Header fields by which answers differ from client to client: requests with them have no class."""

CLASSIFYING_FIELDS = frozenset(
    {b"accept", b"content-length", b"prefer", b"x-request-timeout", *CREDENTIALS, *UNCLASSIFIED}
)

MAX_BYTES = 4096
"""The most bytes of a URL, and of those fields, that are classified: what is kept of clients is bounded."""


class RequestClass(NamedTuple):
    """Requests that are refused for the same reason."""

    target: tuple[str, ...]
    """The path, the query, Accept and credentials: whatever could make another failure of it."""
    timeout_class: int
    """See `timeout_class`."""
    default_timeout: bool
    """Whether the client names no timeout."""
    size_class: int
    """See `size_class`; or ANY_SIZE."""


def timeout_class(seconds: float) -> int:
    """Four classes for each doubling, as clients may send the time that they have left. Raises ValueError below 0."""
    return math.floor(4 * math.log2(seconds))


def size_class(length: int) -> int:
    """One class of body lengths for each doubling, as files of images of one size differ by as much."""
    return length.bit_length()


def classifying_fields(fields: Fields) -> Fields | None:
    """The fields that decide on the class; None where one of them comes twice, or they are too long."""
    known = tuple(field for field in fields if field[0] in CLASSIFYING_FIELDS)
    unique = len({name for name, _ in known}) == len(known)
    return known if unique and sum(len(value) for _, value in known) <= MAX_BYTES else None


def classify_url(url: bytes, fields: Fields, default_timeout: float, longest: float) -> RequestClass | None:
    """`classify` for a URL as it was sent. Raises ValueError or HttpParserError where it is malformed."""
    parsed = parse_url(url)
    path = normalize_path(unquote(parsed.path.decode("ascii")))
    scope = {"path": path, "query_string": parsed.query or b"", "headers": fields}
    return classify(scope, default_timeout, longest)


def classify(scope: Mapping[str, Any], default_timeout: float, longest: float) -> RequestClass | None:
    """The class of a request by its ASGI scope.

    None where it asks for a job, which can wait, is malformed, comes from a web page or through a proxy that names a
    prefix, or does not say how long its body is, decoded.
    `default_timeout` is that of requests that name none, `longest` the most that they may name, in seconds.
    """
    known = classifying_fields(scope["headers"])
    if known is None:
        return None
    headers = dict(known)
    if any(name in headers for name in UNCLASSIFIED):
        return None
    if Preference.parse([headers.get(b"prefer", b"").decode("latin-1")]).respond_async:
        return None
    named = headers.get(b"x-request-timeout")
    try:
        seconds = default_timeout if named is None else float(named)
        timeout = timeout_class(seconds)
        size = size_class(int(headers[b"content-length"]))
    except (KeyError, ValueError, OverflowError):
        return None
    texts = (scope["query_string"], *(headers.get(name, b"") for name in (b"accept", *CREDENTIALS)))
    target = (scope["path"], *(text.decode("latin-1") for text in texts))
    if seconds > longest or sum(map(len, target)) > MAX_BYTES:
        return None
    return RequestClass(target, timeout, named is None, size)
