"""Pages of other origins, in a real browser: what its JavaScript may send and read, where the setting allows it."""

import base64
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from playwright.sync_api import Page, sync_playwright

from service.http.application import RESPONSE_HEADERS
from service.http.responses import image_response_schema
from tests.service.http.access.keyed import write_keys
from tests.service.imaging.images import file, photo
from tests.service.live import PATIENCE, Live, pixels, publish, publish_restorer, publish_upscaler, serving_clients

CHROMIUM = shutil.which("chromium")
PHOTO = base64.b64encode(file(photo())).decode()

FETCH = """async ([url, options, photo]) => {
    if (photo) options.body = Uint8Array.from(atob(photo), (character) => character.charCodeAt(0));
    let answer;
    try { answer = await fetch(url, options); } catch (error) { return {failed: String(error)}; }
    const bytes = new Uint8Array(await answer.arrayBuffer());
    const content = btoa(Array.from(bytes, (byte) => String.fromCharCode(byte)).join(""));
    return {status: answer.status, headers: Object.fromEntries(answer.headers), content};
}"""

needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="needs chromium")


class Empty(BaseHTTPRequestHandler):
    """A page of somebody else."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def other_site() -> Iterator[str]:
    """The origin of a site that is not the service's."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Empty) as site:
        thread = Thread(target=site.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{site.server_address[1]}"
        finally:
            site.shutdown()
            thread.join()


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    """A page of another origin than that of any service."""
    with other_site() as origin, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        opened = browser.new_page()
        opened.set_default_timeout(PATIENCE * 1000)
        opened.goto(origin)
        yield opened
        browser.close()


@pytest.fixture(scope="module")
def origin(page: Page) -> str:
    return page.url.rstrip("/")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cross") / "models"
    publish(folder)
    publish_upscaler(folder)
    publish_restorer(folder)
    return folder


def fetch(page: Page, live: Live, path: str, method: str = "POST", **headers: str) -> dict[str, Any]:
    """What JavaScript of the page sees of an answer; names of headers without their hyphens."""
    options = {"method": method, "headers": {name.replace("_", "-"): value for name, value in headers.items()}}
    body = PHOTO if method in ("POST", "PUT") else None
    seen: dict[str, Any] = page.evaluate(FETCH, [f"{live.url}{path}", options, body])
    return seen


def test_every_header_of_an_image_is_exposed() -> None:
    assert set(image_response_schema()["headers"]) <= set(RESPONSE_HEADERS)


@needs_chromium
def test_page_of_an_allowed_origin_sends_images_and_reads_answers(page: Page, origin: str, root: Path) -> None:
    with serving_clients(root, cors_origins=origin) as live:
        painted = fetch(
            page, live, "/v1/stylize/wave", X_Request_Timeout="30", X_Request_ID="mine", Authorization="Bearer x"
        )
        assert painted["status"] == 200, painted
        assert pixels(base64.b64decode(painted["content"])).shape == photo().shape
        headers = painted["headers"]
        assert {"etag", "server-timing", "x-model", "x-model-digest"} <= headers.keys()
        assert (headers["x-request-id"], headers["x-model"]) == ("mine", "wave@1")
        assert "x-model-reason" in fetch(page, live, "/v1/upscale/4")["headers"]
        refused = fetch(page, live, "/v1/stylize/none")
        assert refused["status"] == 404
        assert b"unknown-model" in base64.b64decode(refused["content"])


@needs_chromium
def test_page_of_an_allowed_origin_has_jobs(page: Page, origin: str, root: Path, tmp_path: Path) -> None:
    with serving_clients(root, cors_origins=f"https://app.example,{origin}", jobs_folder=tmp_path / "jobs") as live:
        begun = fetch(page, live, "/v1/stylize/wave", Prefer="respond-async, wait=60")
        assert (begun["status"], begun["headers"]["preference-applied"]) == (200, "wait")
        begun = fetch(page, live, "/v1/stylize/wave", Prefer="respond-async")
        assert begun["status"] == 202
        location = begun["headers"]["location"]
        live.until(location, lambda answer: answer.json()["state"] == "succeeded")
        result = fetch(page, live, f"{location}/result", "GET")
        again = fetch(page, live, f"{location}/result", "GET", If_None_Match=result["headers"]["etag"])
        assert (result["status"], again["status"]) == (200, 304)
        callback = fetch(page, live, "/v1/jobs/mine?style=wave", "PUT", X_Callback_URL="https://app.example/")
        assert callback["status"] == 422
        assert b"webhook" in base64.b64decode(callback["content"])
        assert fetch(page, live, location, "DELETE")["status"] == 204


@needs_chromium
def test_page_learns_that_it_needs_a_key(page: Page, origin: str, root: Path, tmp_path: Path) -> None:
    sent = write_keys(tmp_path / "keys.toml", shop="")["shop"]
    options = {"keys_file": tmp_path / "keys.toml", "jobs_folder": tmp_path / "jobs"}
    with serving_clients(root, cors_origins=origin, **options) as live:
        refused = fetch(page, live, "/v1/stylize/wave")
        assert refused["status"] == 401
        assert "bearer" in refused["headers"]["www-authenticate"].lower()
        assert fetch(page, live, "/v1/stylize/wave", **sent)["status"] == 200


@needs_chromium
@pytest.mark.parametrize("origins", ["", "https://app.example"])
def test_page_of_another_origin_reads_nothing(page: Page, root: Path, origins: str) -> None:
    with serving_clients(root, cors_origins=origins) as live:
        for method, path in (("POST", "/v1/stylize/wave"), ("GET", "/v1/models"), ("DELETE", "/v1/jobs/mine")):
            assert fetch(page, live, path, method)["failed"] == "TypeError: Failed to fetch"
        assert fetch(page, live, "/v1/stylize/wave", Authorization="Bearer x")["failed"]
