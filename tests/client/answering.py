"""A server with the answers of a test, and a clock that does not wait."""

import asyncio
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

Answers = list[tuple[int, dict[str, str], bytes]]

CUT = "X-Cut"
"""A header with which the connection ends in the middle of the body."""


@contextmanager
def server(answers: Answers, tls: ssl.SSLContext | None = None) -> Iterator[tuple[str, list[str]]]:
    """Serve these answers in order, by HTTPS with `tls`; yields the URL and the list of requested paths."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            asked.append(self.path)
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            status, headers, body = answers[len(asked) - 1]
            self.send_response(status)
            for name, value in (headers | {"Content-Length": str(len(body))}).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body[: len(body) // 2] if CUT in headers else body)

        do_GET = do_POST = answer  # noqa: N815 # as http.server has them

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as httpd:
        if tls is not None:
            httpd.socket = tls.wrap_socket(httpd.socket, server_side=True, do_handshake_on_connect=False)
        thread = Thread(target=httpd.serve_forever)
        thread.start()
        try:
            yield f"{'https' if tls else 'http'}://127.0.0.1:{httpd.server_address[1]}", asked
        finally:
            httpd.shutdown()
            thread.join()


def problem(kind: str, detail: str) -> bytes:
    return f'{{"type": "/problems/{kind}", "detail": "{detail}"}}'.encode()


class Waits(list[float]):
    """Records the requested pauses instead of waiting; its time is their sum."""

    async def sleep(self, seconds: float) -> None:
        self.append(seconds)
        await asyncio.sleep(0)

    def clock(self) -> float:
        return sum(self)
