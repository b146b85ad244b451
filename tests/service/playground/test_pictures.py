"""Pictures as they come: files that change, and names of all kinds."""

from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.service.imaging.images import file, photo
from tests.service.live import Live
from tests.service.playground.pages import CHROMIUM, PHOTO, done, downloaded, start, visit

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs chromium")


@pytest.mark.parametrize("gone", [False, True])
def test_picture_is_what_it_was_when_it_was_chosen(browser: Browser, live: Live, tmp_path: Path, gone: bool) -> None:
    chosen = tmp_path / "photo.png"
    chosen.write_bytes(PHOTO)
    with visit(browser, f"{live.url}#style=wave&delivery=now") as page:
        page.locator("#file").set_input_files(chosen)
        expect(page.locator("#estimate")).not_to_be_empty()
        chosen.unlink()
        if not gone:
            chosen.write_bytes(file(photo(height=48, width=80)))
        start(page, "Paint")
        done(page)
        name, content = downloaded(page)
        assert name == "photo-wave.png"
        assert content == live.client.post("/v1/stylize/wave?format=png", content=PHOTO).content
