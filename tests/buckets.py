"""A real S3 server on this machine (moto's), whose answers a test can spoil, and a plain web server of a folder."""

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import cached_property, partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from s3fs import S3FileSystem
from werkzeug.serving import WSGIRequestHandler, make_server

Fault = Callable[[Iterable[bytes], list[tuple[str, str]]], tuple[str | None, Iterable[bytes]]]
"""Another status, None for the same one, and another body of an answer whose headers are given."""

BUCKET = "bucket"


def unavailable(_: Iterable[bytes], headers: list[tuple[str, str]]) -> tuple[str, Iterable[bytes]]:
    headers[:] = [("Content-Length", "0")]
    return "503 Service Unavailable", [b""]


def truncated(body: Iterable[bytes], _: list[tuple[str, str]]) -> tuple[None, Iterable[bytes]]:
    content = b"".join(body)
    return None, [content[: len(content) // 2]]


def stuck(until: threading.Event) -> Fault:
    def wait(body: Iterable[bytes], _: list[tuple[str, str]]) -> tuple[None, Iterable[bytes]]:
        until.wait()
        return None, body

    return wait


class Bucket:
    """The server, as WSGI middleware: what was asked of it, and what to spoil."""

    def __init__(self) -> None:
        self.requests: list[str] = []
        """METHOD path of every request."""
        self.faults: list[tuple[str, Fault]] = []
        """For a request that ends so, such as "GET /…/index.json", the fault; each is used once."""
        self.url = ""
        self._app = DomainDispatcherApplication(create_backend_app)

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        request = f"{environ['REQUEST_METHOD']} {environ['PATH_INFO']}"
        self.requests.append(request)
        started: list[Any] = []
        body: Iterable[bytes] = self._app(environ, lambda status, headers, _=None: started.extend([status, headers]))
        fault = next((each for each in self.faults if request.endswith(each[0])), None)
        if fault is not None:
            self.faults.remove(fault)
            status, body = fault[1](body, started[1])
            started[0] = status or started[0]
        start_response(*started)
        return body

    @cached_property
    def client(self) -> Any:
        return boto3.client("s3", endpoint_url=self.url)

    def create(self) -> None:
        self.client.create_bucket(Bucket=BUCKET)

    def remove(self) -> None:
        """With all that is in it."""
        try:
            for entry in self.client.list_objects_v2(Bucket=BUCKET).get("Contents", []):
                self.client.delete_object(Bucket=BUCKET, Key=entry["Key"])
            self.client.delete_bucket(Bucket=BUCKET)
        except ClientError as error:
            assert error.response["Error"]["Code"] == "NoSuchBucket"  # noqa: PT017
        self.faults.clear()
        self.requests.clear()

    def read(self, key: str) -> bytes:
        content: bytes = self.client.get_object(Bucket=BUCKET, Key=key)["Body"].read()
        return content

    def write(self, key: str, content: bytes) -> None:
        self.client.put_object(Bucket=BUCKET, Key=key, Body=content)


class _QuietHandler(WSGIRequestHandler):
    def log_request(self, code: int | str = "-", size: int | str = "-") -> None: ...


@contextmanager
def s3_server() -> Iterator[Bucket]:
    """A server with no bucket yet, and the environment in which s3fs and boto3 find it."""
    bucket = Bucket()
    server = make_server("127.0.0.1", 0, bucket, threaded=True, request_handler=_QuietHandler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    bucket.url = f"http://127.0.0.1:{server.server_port}"
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("AWS_ENDPOINT_URL", bucket.url)
            patch.setenv("AWS_ACCESS_KEY_ID", "key")
            patch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
            patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
            patch.setenv("AWS_MAX_ATTEMPTS", "1")
            S3FileSystem.clear_instance_cache()
            try:
                yield bucket
            finally:
                bucket.remove()  # all servers of a process share their buckets
                S3FileSystem.clear_instance_cache()
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _QuietFiles(SimpleHTTPRequestHandler):
    def log_request(self, code: int | str = "-", size: int | str = "-") -> None: ...


@contextmanager
def web_server(folder: Path) -> Iterator[str]:
    """The URL at which the files of a folder can be read."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_QuietFiles, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
