"""The address of a service, how a client is made known to it, and URLs that it is told."""

import re
from collections.abc import Mapping

import httpx

_CREDENTIALS = re.compile(r"(:/+)[^\s'\"]*@")

DEFAULT_SERVER = "http://127.0.0.1:8000"


def without_passwords(text: str) -> str:
    """The text with … for what stands before the hosts of its URLs."""
    return _CREDENTIALS.sub(r"\1…@", text)


def parse_address(text: str) -> str:
    """The address of a service as it is, with a path where it has a prefix. Raises ValueError for any other text."""
    if not _is_address(text):
        example = f"http://{without_passwords(text)}" if text and "://" not in text else DEFAULT_SERVER
        raise ValueError(f"{without_passwords(text)!r} is no address of a server; one is written {example}")
    return text


def key_headers(key: str | None) -> Mapping[str, str]:
    """What a request with an API key has; an empty one is none, and space around it is no part of it.

    Raises ValueError, without the key, for characters that no header can have.
    """
    bare = (key or "").strip()
    if not (bare.isascii() and bare.isprintable()):
        raise ValueError("an API key is printable ASCII in one line; this one has other characters")
    return {"Authorization": f"Bearer {bare}"} if bare else {}


def ascii_url(url: str) -> str:
    """A URL as headers can have it: other characters than ASCII are encoded. Raises ValueError for what is none."""
    if url.isascii():
        return url
    try:
        return str(httpx.URL(url))
    except httpx.InvalidURL as error:
        raise ValueError(f"{url!r} is no URL: {error}") from error


def _is_address(text: str) -> bool:
    try:
        url = httpx.URL(text)
    except httpx.InvalidURL:
        return False
    return url.scheme in ("http", "https") and url.host != "" and (url.port or 0) < 2**16
