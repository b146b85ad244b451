"""Where a store is: a folder, or a URL such as s3://bucket/models."""

import re
from pathlib import Path

Location = Path | str
"""A folder as a Path, anything else as a URL."""

SHIPPED_STORE = Path(__file__).parent.parent / "checkpoints"
"""The networks that come with the package."""

SHIPPED = "shipped"
"""What stands for it where the place of a store is asked for."""

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")

_ENTRY = re.compile(r"(?:[A-Za-z][A-Za-z0-9+.-]*://[^/:]*(?::[^/:@]*@[^/:]*)?(?::\d+(?=[/:]|$))?)?[^:]*")
"""A folder, or a URL with its password and port: neither has other colons."""


_LOCAL = frozenset({"file", "local"})
"""Schemes of folders of this machine."""

_ALMOST_URL = re.compile(r"(?:file|local|s3a?|gc?s|hf|https?):|[^/]*://", re.IGNORECASE)
"""How a URL begins that lacks a slash or a scheme, or several of them."""

_SCHEME_ALONE = re.compile(r"(?:^|:)((?:file|local|s3a?|gc?s|hf|https?):(?!//)[^:]*)", re.IGNORECASE)
"""An entry of a list that is the name of a scheme, and the next one: a URL that lacks a slash, or both."""

_HOST = re.compile(r"(?:[^\[\]:]+|\[[0-9A-Fa-f:.]+\])(?::\d{1,5})?")
"""With its port, as in a URL of HTTP."""


def is_url(text: str) -> bool:
    """Whether it is a URL rather than the path of a folder."""
    return _SCHEME.match(text) is not None


def parse_location(text: str) -> Location:
    """A URL without its last slash, or a Path.

    Raises ValueError for a URL that names no place, and for one with a password, which logs would show.
    """
    if not is_url(text):
        return _folder(text)
    if "@" in text.partition("://")[2].partition("/")[0] or "?" in text:
        raise ValueError(
            "the URL of a store has no user, password or query: credentials come from the environment (s3: AWS_…)"
        )
    scheme, _, place = text.partition("://")
    _require_place(scheme.lower(), place)
    return f"{scheme.lower()}://{place.rstrip('/')}"


def _folder(text: str) -> Path:
    """Raises ValueError for no name at all, and for what looks like a URL."""
    if not text:
        raise ValueError("the place of a store is empty; this folder is written .")
    if _ALMOST_URL.match(text):
        raise ValueError("the URL of a store begins like s3://bucket/models; a folder of such a name is written ./…")
    return home_expanded(Path(text))


def home_expanded(path: Path) -> Path:
    """The path with the home folder instead of a ~ at its beginning, which a shell leaves alone after an equals sign.

    Raises ValueError where nobody has that name.
    """
    try:
        return path.expanduser()
    except RuntimeError as error:
        raise ValueError(
            f"{path} begins with no home folder; a file of such a name is written as {Path.cwd() / path}"
        ) from error


def _require_place(scheme: str, place: str) -> None:
    """Raises ValueError where a URL has no place after its scheme, as a file:// URL with a host."""
    if scheme in _LOCAL and not (place.startswith("/") and place.strip("/")):
        raise ValueError(f"a URL of a folder is absolute, with three slashes: {scheme}:///srv/models")
    host = place.partition("/")[0]
    if scheme not in _LOCAL and not host:
        raise ValueError(f"the URL names no bucket or host, such as {scheme}://name/models")
    if scheme in ("http", "https") and not _HOST.fullmatch(host):
        raise ValueError("the URL has no host and port, such as https://example.org:8443/models")


def split_locations(text: str) -> list[str]:
    """The parts of a list separated by colons, which those of a URL are not: models:s3://bucket/models.

    Raises ValueError for what looks like a URL that lacks a slash: it would be two folders.
    """
    if almost := _SCHEME_ALONE.search(text):
        scheme, _, rest = almost[1].partition(":")
        meant = f"{scheme}://{rest.lstrip('/') or 'bucket/models'}"
        raise ValueError(f"{almost[1]} would be two folders; a URL is written {meant}, and a folder of such a name ./…")
    return [part for part in _ENTRY.findall(text) if part]


def local_folder(location: str) -> Path | None:
    """The folder of this machine that a location names, also as a URL; None for any other place."""
    scheme, separator, path = location.partition("://")
    if not separator:
        return Path(location).resolve()
    return Path(path).resolve() if scheme.lower() in _LOCAL else None
