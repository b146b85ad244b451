"""The key that a request brings: `Authorization: Bearer <key>` (RFC 6750, section 2.1) or `X-API-Key: <key>`."""

from collections.abc import Iterable

BEARER = b"bearer "


def presented_key(headers: Iterable[tuple[bytes, bytes]]) -> str | None:
    """The key in the headers of an ASGI scope; None where there is none.

    X-API-Key counts where Authorization has another scheme: a proxy may use that one for itself.
    """
    found = b""
    for name, value in headers:
        if name == b"authorization" and value[: len(BEARER)].lower() == BEARER:
            return value[len(BEARER) :].strip().decode("latin-1") or None
        if name == b"x-api-key":
            found = value
    return found.strip().decode("latin-1") or None
