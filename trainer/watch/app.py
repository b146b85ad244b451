"""The page of a training as an application: what a browser reads, and the two requests that it may make."""

import json
import secrets
from collections.abc import Callable
from dataclasses import asdict
from html import escape
from pathlib import Path
from urllib.parse import urlsplit

from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from trainer.config import TrainConfig
from trainer.errors import RunError
from trainer.monitor import Phase, TrainingMonitor
from trainer.run_folder import Run
from trainer.watch.address import is_own_name

PAGE = Path(__file__).parent / "page"

ASSETS = {"style.css": "text/css", "script.js": "text/javascript", "icon.svg": "image/svg+xml"}

MOST_METRICS = 2**20
"""Bytes of metrics.jsonl in one answer; the page asks again for the rest."""

MOST_DIGITS = 15
"""Of a place in metrics.jsonl: no file is longer."""

PLACES = "0, or what the last answer had as next"

TOKEN_HEADER = "X-Watch-Token"

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-cache",
}


class Guard:
    """Middleware: refuses what comes from another site, and adds HEADERS to every answer.

    The host must be one of the server's own names. A POST must have the token, which only the page knows, in a header,
    which no form can send, and where it has an origin that of the page.
    """

    def __init__(self, app: ASGIApp, *, host: str, token: str) -> None:
        self._app, self._host, self._token = app, host, token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or pass it on."""

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        refusal = self._refusal(Request(scope))
        await (refusal or self._app)(scope, receive, send_with_headers)

    def _refusal(self, request: Request) -> Response | None:
        host = request.headers.get("Host", "")
        if not is_own_name(_without_port(host), self._host):
            return PlainTextResponse(f"this server is not known as {host}", 421)
        if request.method in ("GET", "HEAD"):
            return None
        token = request.headers.get(TOKEN_HEADER, "")
        origin = request.headers.get("Origin", f"http://{host}")
        if origin.partition("://")[2] == host and secrets.compare_digest(token.encode(), self._token.encode()):
            return None
        return PlainTextResponse("only the page itself may ask for that", 403)


def _without_port(host: str) -> str:
    """The name in a field Host; as it is where it cannot be understood."""
    try:
        return urlsplit(f"//{host}").hostname or host
    except ValueError:
        return host


class Watch:
    """Answers to the page of one training."""

    def __init__(
        self, monitor: TrainingMonitor, run: Run, config: TrainConfig, token: str, told: Callable[[Phase], None]
    ) -> None:
        """`told` is called with each phase that a page is told of."""
        self._session, self._run, self._config = monitor, run, config
        self._token, self._told = token, told

    def page(self, _: Request) -> Response:
        """The page, with its token."""
        content = (PAGE / "index.html").read_text("utf-8")
        for mark, text in {"{{token}}": self._token, "{{name}}": self._config.name}.items():
            content = content.replace(mark, escape(text))
        return Response(content, media_type="text/html")

    def asset(self, request: Request) -> Response:
        """A file that the page consists of."""
        name = request.url.path.rpartition("/")[2]
        return Response((PAGE / name).read_bytes(), media_type=ASSETS[name])

    def status(self, _: Request) -> Response:
        """How the training stands, and which previews there are."""
        status = self._session.status
        facts = {
            "name": self._config.name,
            "title": self._config.title,
            "folder": str(self._run.folder),
            "store": str(self._config.store),
            "preview_every": self._config.preview_every,
            "log_every": self._config.log_every,
        }
        self._told(status.phase)
        previews = [step for step in self._run.previews() if step <= status.step]  # others are of an earlier run
        return JSONResponse(facts | asdict(status) | {"previews": previews})

    def metrics(self, request: Request) -> Response:
        """Whole lines of metrics.jsonl from a byte on, and the byte from which the page goes on.

        400 where no line begins there: the page is loaded anew.
        """
        texts = request.query_params.getlist("from") or ["0"]
        if len(texts) > 1 or not texts[0].isdecimal() or len(texts[0]) > MOST_DIGITS:
            return PlainTextResponse(f"from is one number: {PLACES}", 400)
        try:
            lines, end = self._run.metrics(int(texts[0]), MOST_METRICS)
        except RunError as error:
            return PlainTextResponse(f"{error}; from is {PLACES}", 400)
        return JSONResponse({"next": end, "lines": [json.loads(line) for line in lines]})

    def preview(self, request: Request) -> Response:
        """A preview as it was written to the run's folder."""
        step: str = request.path_params["step"]
        if step not in map(str, self._run.previews()):
            return PlainTextResponse(f"there is no preview of step {step}", 404)
        return Response(self._run.preview_file(int(step)).read_bytes(), media_type="image/png")

    def stop(self, _: Request) -> Response:
        """Ask for the training to stop."""
        self._session.request_stop()
        return Response(status_code=202)

    def publish(self, _: Request) -> Response:
        """Ask for the present weights to be published."""
        self._session.request_publish()
        return Response(status_code=202)


def create_app(watch: Watch, *, host: str, token: str) -> Starlette:
    """The application for a server that listens on `host`."""
    return Starlette(
        routes=[
            Route("/", watch.page),
            *(Route(f"/{name}", watch.asset) for name in ASSETS),
            Route("/status", watch.status),
            Route("/metrics", watch.metrics),
            Route("/previews/{step}.png", watch.preview),
            Route("/stop", watch.stop, methods=["POST"]),
            Route("/publish", watch.publish, methods=["POST"]),
        ],
        middleware=[Middleware(Guard, host=host, token=token)],
    )
