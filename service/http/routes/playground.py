"""`GET /playground/{file}`: the files of the web page, which is at `/`."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from fastapi import Request, Response

from service.errors import NotFound
from service.http.responses import conditional_response, content_tag
from service.http.routers import new_router

FOLDER = Path(__file__).parents[2] / "playground"
PAGE = "index.html"

MEDIA_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".webp": "image/webp",
}

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""The Content-Security-Policy of the page: its own files, pictures that it made itself, and the API."""


@dataclass(frozen=True)
class PageFile:
    """One file, and how it is answered."""

    content: bytes
    headers: Mapping[str, str]

    @classmethod
    def read(cls, path: Path) -> Self:
        """Clients ask each time whether it has changed, since its address is the same in every release."""
        content = path.read_bytes()
        return cls(
            content,
            {
                "Content-Type": MEDIA_TYPES[path.suffix],
                "Content-Security-Policy": POLICY,
                "Cache-Control": "no-cache",
                "ETag": content_tag(content),
            },
        )

    def response(self, request: Request) -> Response:
        """The file, or 304 where the client has it."""
        return conditional_response(request.headers.getlist("If-None-Match"), self.content, self.headers)


class PlaygroundRoutes:
    """The page and GET /playground/{file}."""

    def __init__(self) -> None:
        self._files = {path.name: PageFile.read(path) for path in FOLDER.iterdir() if path.suffix in MEDIA_TYPES}
        self.router = new_router(include_in_schema=False)
        self.router.add_api_route("/playground/{file}", self.file, response_class=Response)

    def page(self, request: Request) -> Response:
        """What a browser gets at `/`."""
        return self._files[PAGE].response(request)

    async def file(self, request: Request, file: str) -> Response:
        """What the page loads."""
        if file not in self._files or file == PAGE:
            raise NotFound(f"the page has no file {file!r}")
        return self._files[file].response(request)
