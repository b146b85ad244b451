"""Where a store is: a folder, or a URL such as s3://bucket/models."""

import re
from pathlib import Path

Location = Path | str
"""A folder as a Path, anything else as a URL."""

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")

_ENTRY = re.compile(r"(?:[A-Za-z][A-Za-z0-9+.-]*://[^/:]*(?::[^/:@]*@[^/:]*)?(?::\d+(?=[/:]|$))?)?[^:]*")
"""A folder, or a URL with its password and port: neither has other colons."""


def is_url(text: str) -> bool:
    """Whether it is a URL rather than the path of a folder."""
    return _SCHEME.match(text) is not None


def parse_location(text: str) -> Location:
    """A URL without its last slash, or a Path. Raises ValueError for a URL with a password, which logs would show."""
    if not is_url(text):
        return Path(text)
    if "@" in text.partition("://")[2].partition("/")[0] or "?" in text:
        raise ValueError(
            "the URL of a store has no user, password or query: credentials come from the environment (s3: AWS_…)"
        )
    return text if text.endswith("://") else text.rstrip("/")


def split_locations(text: str) -> list[str]:
    """The parts of a list separated by colons, which those of a URL are not: models:s3://bucket/models."""
    return [part for part in _ENTRY.findall(text) if part]


def local_folder(location: str) -> Path | None:
    """The folder of this machine that a location names, also as a URL; None for any other place."""
    scheme, separator, path = location.partition("://")
    if not separator:
        return Path(location).resolve()
    return Path(path).resolve() if scheme.lower() in {"file", "local"} else None
