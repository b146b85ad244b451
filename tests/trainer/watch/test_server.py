import shutil
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest

from tests.trainer.watch.pages import begun, running
from trainer.errors import TrainerError
from trainer.monitor import TrainingMonitor
from trainer.watch.address import ANY_PORT, USUAL_PORT
from trainer.watch.server import WatchServer, listen

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page, Route

PATIENCE = 60.0
"""Seconds, for a busy machine."""


@contextmanager
def serving(folder: Path, monitor: TrainingMonitor) -> Iterator[str]:
    config, run = begun(folder)
    with listen("127.0.0.1:0") as listener, WatchServer(monitor, run, config, listener) as server:
        yield server.url


def test_page_is_served_until_the_block_ends(tmp_path: Path) -> None:
    with serving(tmp_path, running()) as url:
        assert httpx.get(url, timeout=PATIENCE).status_code == 200
    with pytest.raises(httpx.ConnectError):
        httpx.get(url, timeout=PATIENCE)


def test_a_page_that_was_open_learns_of_the_end(tmp_path: Path) -> None:
    monitor = running()
    with serving(tmp_path, monitor) as url, httpx.Client(base_url=url, timeout=PATIENCE) as client:
        assert client.get("/status").json()["phase"] == "training"
        monitor.end("published wave@1")
        assert client.get("/status").json()["message"] == "published wave@1"


def test_an_error_of_the_page_is_its_own(tmp_path: Path) -> None:
    monitor = running()
    with serving(tmp_path, monitor) as url:
        (tmp_path / "run/metrics.jsonl").write_text("damaged\n")
        assert httpx.get(f"{url}metrics", timeout=PATIENCE).status_code == 500
        assert httpx.get(f"{url}status", timeout=PATIENCE).status_code == 200
        monitor.end("")
        httpx.get(f"{url}status", timeout=PATIENCE)


def _answered(url: str, head: bytes) -> bytes:
    """The first line of what the page's server says to these bytes."""
    address = httpx.URL(url)
    with socket.create_connection((address.host, address.port or 0), PATIENCE) as connection:
        connection.sendall(head)
        return connection.recv(2**16).partition(b"\r\n")[0]


def test_what_is_no_request_is_refused_without_a_word_in_the_terminal(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    begin = b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n"
    with serving(tmp_path, running()) as url:
        for rest in (b"\x00\r\n\r\n", b"Host: evil.example\r\n\r\n", b"X: " + 2**17 * b"a"):
            assert _answered(url, begin + rest).startswith(b"HTTP/1.1 400 ")
        assert _answered(url, begin + b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n") == b"HTTP/1.1 200 OK"
    assert caplog.records == []


def test_only_so_many_connections_stay_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trainer.watch.server.MOST_CONNECTIONS", 3)
    with serving(tmp_path, running()) as url, ExitStack() as opened_ones:
        address = (httpx.URL(url).host, httpx.URL(url).port or 0)
        for _ in range(3):
            opened_ones.enter_context(socket.create_connection(address, PATIENCE)).sendall(b"GET ")
        with pytest.raises(httpx.TransportError):
            httpx.get(url, timeout=PATIENCE)
        opened_ones.close()
        while not _is_answered(url):
            pass


def _is_answered(url: str) -> bool:
    try:
        return httpx.get(url, timeout=PATIENCE, verify=False).is_success
    except httpx.TransportError:
        return False  # it has not yet noticed that others have left


def test_the_usual_port_or_a_free_one_is_chosen() -> None:
    with listen(ANY_PORT) as first, listen(ANY_PORT) as second:
        ports = [each.socket.getsockname()[1] for each in (first, second)]
        assert first.url == f"http://127.0.0.1:{ports[0]}/"
        assert USUAL_PORT != ports[1] != ports[0]


def test_a_port_that_is_taken_is_an_error_where_it_was_asked_for() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        text = f"127.0.0.1:{taken.getsockname()[1]}"
        told = f"--watch {text}: Address already in use; another HOST:PORT may be free"
        with pytest.raises(TrainerError, match=told), listen(text):
            pass


def test_others_who_reach_the_page_are_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    with listen("0.0.0.0:0") as listener:
        assert listener.url.startswith("http://127.0.0.1:")
    assert "whoever reaches 0.0.0.0:0 can see this training" in caplog.text


@pytest.fixture(scope="module")
def browser() -> Iterator["Browser"]:
    """A browser for all tests of the page."""
    api = pytest.importorskip("playwright.sync_api")
    with api.sync_playwright() as playwright:
        started: Browser = playwright.chromium.launch(executable_path=shutil.which("chromium"))
        yield started
        started.close()


@contextmanager
def opened(browser: "Browser", url: str) -> Iterator["Page"]:
    """The page, with its charts; no error of its scripts may be left over."""
    page = browser.new_page()
    page.set_default_timeout(PATIENCE * 1000)
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.goto(url)
    page.locator(".chart").nth(3).wait_for()
    yield page
    page.close()
    assert problems == []


in_a_browser = pytest.mark.skipif(shutil.which("chromium") is None, reason="needs Chromium")


@in_a_browser
def test_page_reads_each_line_once_whatever_is_asked_of_it(browser: "Browser", tmp_path: Path) -> None:
    with serving(tmp_path, running()) as url, opened(browser, url) as page:
        held: list[Route] = []

        def hold(route: "Route") -> None:
            held.append(route)

        page.route("**/metrics?*", hold, times=1)
        with page.expect_request("**/metrics?*"):
            pass
        with (tmp_path / "run/metrics.jsonl").open("a") as metrics:
            metrics.write('{"step": 22, "content": 0.04, "tv": 0.1, "learning_rate": 0.001}\n')
        with page.expect_response("**/publish"):
            page.click("#publish")
        page.evaluate("fetch('metrics').then((answer) => answer.text())")  # by then a second poll would have read
        held[0].continue_()
        page.locator('#phase[data-phase="publishing"]').wait_for()
        page.locator(".chart svg").nth(1).focus()
        for key, shown in {"End": "0.04 at 22", "ArrowLeft": "0.05 at 20"}.items():
            page.keyboard.press(key)
            assert page.locator(".chart output").nth(1).inner_text() == shown


@in_a_browser
def test_page_that_has_read_what_a_resumed_run_repeats_begins_anew(browser: "Browser", tmp_path: Path) -> None:
    with serving(tmp_path, running()) as url, opened(browser, url) as page:
        with page.expect_navigation():
            (tmp_path / "run/metrics.jsonl").write_text('{"step": 2, "content": 0.25, "tv": 0.1}\n')
        page.locator(".chart svg").nth(1).focus()
        page.keyboard.press("End")
        assert page.locator(".chart output").nth(1).inner_text() == "0.25 at 2"


@in_a_browser
def test_page_says_what_it_could_not_ask_for(browser: "Browser", tmp_path: Path) -> None:
    with serving(tmp_path, running()) as url, opened(browser, url) as page:
        message = page.locator("#message")
        page.route("**/publish", lambda route: route.fulfill(status=500))
        page.click("#publish")
        message.filter(has_text="Nothing came of “publish”: the server answered 500.").wait_for()
        page.unroute("**/publish")
        page.route("**/publish", lambda route: route.abort())
        page.click("#publish")
        message.filter(has_text="Nothing came of “publish”: the server did not answer.").wait_for()
        page.unroute("**/publish")
        page.click("#publish")
        message.wait_for(state="hidden")
        assert page.get_attribute("#phase", "data-phase") == "publishing"


@in_a_browser
def test_page_in_a_browser(browser: "Browser", tmp_path: Path) -> None:
    monitor = running()
    with serving(tmp_path, monitor) as url:
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        problems: list[str] = []
        page.on("console", lambda message: problems.append(message.text))
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.goto(url)
        page.locator(".chart").nth(4).wait_for()
        names = ["total", "content", "tv", "discriminator", "learning rate"]
        assert page.locator(".chart b").all_inner_texts() == names
        assert page.locator(".chart path.smooth").count() == len(names)
        assert page.inner_text("#progress-text") == "step 20 of 100"
        assert str(page.get_attribute("#picture", "src")) == "previews/20.png"
        for width in (390, 1280):
            page.set_viewport_size({"width": width, "height": 800})
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        page.locator(".chart svg").nth(1).focus()
        page.keyboard.press("Home")
        assert page.locator(".chart output").nth(1).inner_text() == "0.5 at 2"
        assert page.locator(".chart output").nth(0).inner_text() == "0.6 at 2"  # what the network minimises
        page.locator("#scrub").focus()
        page.keyboard.press("Home")
        assert page.inner_text("#scrub-text") == "step 10"
        page.click("#publish")
        page.locator('#phase[data-phase="publishing"]').wait_for()
        page.click("#stop")
        page.keyboard.press("Escape")
        assert not monitor.stop_requested.is_set()
        page.click("#stop")
        page.click("#confirm-yes")
        assert monitor.stop_requested.wait(30)
        monitor.end("interrupted at step 20")
        page.locator("#message", has_text="interrupted at step 20").wait_for()
        page.close()
    assert problems == []
