"""The settings by keyboard, and what they mean."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.service.live import Live
from tests.service.playground.pages import CHROMIUM, PHOTO, brush, choose, done, start, visit

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs chromium")


def test_networks_are_chosen_by_arrow_keys(browser: Browser, live: Live) -> None:
    with visit(browser, f"{live.url}#mode=enlarge") as page:
        choose(page)
        page.get_by_role("radio", name=re.compile("^Faithful")).press("ArrowDown")
        sharper = page.get_by_role("radio", name=re.compile("^Sharper"))
        expect(sharper).to_be_checked()
        expect(sharper).to_be_focused()
        expect(page.locator("#preview-note")).to_contain_text("by x4-perceptual")


@pytest.mark.parametrize(("width", "made"), [(200, "200 × 133"), (5000, "384 × 256")])
def test_width_is_the_most_that_is_wanted(browser: Browser, live: Live, width: int, made: str) -> None:
    with visit(browser, f"{live.url}#mode=enlarge&width={width}") as page:
        choose(page)
        start(page, "Enlarge")
        done(page)
        expect(page.locator("#status")).to_contain_text(made)


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
@pytest.mark.parametrize("name", ["photo.png", "it's mine; a, b.png", 'a "b", c.png', "קיץ.png"])
@pytest.mark.parametrize("part", [False, True])
def test_line_of_curl_sends_a_file_of_any_name(
    browser: Browser, live: Live, tmp_path: Path, name: str, part: bool
) -> None:
    with visit(browser, f"{live.url}#style=wave") as page:
        choose(page, PHOTO, name)
        done(page)
        if part:
            brush(page)
            done(page)
            page.locator("#mask-toggle").click()
            with page.expect_download() as saved:
                page.get_by_role("button", name="Save the mask for curl").click()
            saved.value.save_as(tmp_path / "mask.png")
        line = str(page.locator("#curl").text_content())
    (tmp_path / name).write_bytes(PHOTO)
    subprocess.run(["sh", "-c", f"{line} -sf"], cwd=tmp_path, check=True, timeout=60)
    assert (tmp_path / name.replace(".png", "-wave.png")).read_bytes().startswith(b"\x89PNG")
