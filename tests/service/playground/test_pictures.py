"""Pictures as they come: files that change, and names of all kinds."""

from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.service.imaging.images import file, photo
from tests.service.live import Live
from tests.service.playground.pages import CHROMIUM, PHOTO, choose, done, downloaded, start, visit

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


@pytest.mark.parametrize(("size", "strokes"), [((64, 96), "96 px, the finest"), ((48, 1400), "1400 px, the finest")])
def test_finest_strokes_are_those_of_the_picture_itself(
    browser: Browser, live: Live, size: tuple[int, int], strokes: str
) -> None:
    content = file(photo(height=size[0], width=size[1]))
    with visit(browser, f"{live.url}#style=wave&delivery=now") as page:
        choose(page, content)
        page.get_by_label("Brush strokes").press("End")
        expect(page.locator("[data-of=stroke]")).to_have_text(strokes)
        start(page, "Paint")
        done(page)
        painted = live.client.post("/v1/stylize/wave?format=png&size=native", content=content).content
        assert downloaded(page)[1] == painted
