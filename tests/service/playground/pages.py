"""The page in a browser, and what people do with it."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from playwright.sync_api import Browser, FilePayload, Locator, Page, Route, expect

from tests.service.imaging.images import file, photo
from tests.service.live import PATIENCE

CHROMIUM = shutil.which("chromium")
DESK, PHONE = {"width": 1280, "height": 800}, {"width": 390, "height": 844}
PHOTO = file(photo(height=64, width=96))
expect.set_options(timeout=PATIENCE * 1000)


@contextmanager
def visit(browser: Browser, address: str, viewport: dict[str, int] = DESK, **options: Any) -> Iterator[Page]:
    """The page, which may complain of nothing and ask nobody else. What the service refuses is told by `allowed`.

    A `script` runs before those of the page.
    """
    allowed = options.pop("allowed", "a status that no test expects")
    script = options.pop("script", "")
    complaints: list[str] = []
    with browser.new_context(viewport=viewport, reduced_motion="reduce", **options) as context:  # type: ignore[arg-type]
        page = context.new_page()
        page.set_default_timeout(PATIENCE * 1000)
        page.on("console", lambda said: complaints.append(said.text) if said.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        host = urlsplit(address).netloc
        page.on("request", lambda sent: complaints.append(sent.url) if not is_own(sent.url, host) else None)
        page.add_init_script(script)
        page.goto(address)
        try:
            yield page
        except Exception as error:
            error.add_note(f"the page complained: {complaints}")
            raise
    assert [text for text in complaints if allowed not in text] == []


def is_own(url: str, host: str) -> bool:
    return url.startswith(("blob:", "data:")) or urlsplit(url).netloc == host


def choose(page: Page, content: bytes = PHOTO, name: str = "photo.png", media_type: str = "image/png") -> None:
    page.locator("#file").set_input_files(FilePayload(name=name, mimeType=media_type, buffer=content))


def start(page: Page, name: str) -> None:
    """By the button beside the result; that of the same name at the top chooses what to make."""
    page.get_by_role("region", name="Result").get_by_role("button", name=name, exact=True).click()


def done(page: Page) -> None:
    page.locator("body[data-state=done]").wait_for()


def downloaded(page: Page) -> tuple[str, bytes]:
    """The name and the content of the file that the button saves."""
    with page.expect_download() as saved:
        page.get_by_role("button", name="Download").click()
    return saved.value.suggested_filename, Path(saved.value.path()).read_bytes()


def drag(page: Page, element: Locator, start: tuple[float, float], end: tuple[float, float]) -> None:
    """By mouse, between two points in shares of the element's sides."""
    box = element.bounding_box()
    assert box is not None
    points = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in (start, end)]
    page.mouse.move(*points[0])
    page.mouse.down()
    page.mouse.move(*points[1], steps=5)
    page.mouse.up()


def brush(page: Page) -> None:
    """Paint only a part: a little left of the middle."""
    page.get_by_role("button", name="Paint only a part").click()
    drag(page, page.locator("#viewer"), (0.35, 0.5), (0.45, 0.5))
    page.get_by_role("button", name="Done").click()


def held_back(page: Page, pattern: str) -> list[Route]:
    """The next request of a kind, in a list: it has no answer until somebody gives one."""
    routes: list[Route] = []

    def keep(route: Route) -> None:
        routes.append(route)

    page.route(pattern, keep, times=1)
    return routes
