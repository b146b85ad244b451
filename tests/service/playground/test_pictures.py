"""Pictures as they come: files that change, and names of all kinds."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from PIL.ExifTags import Base
from playwright.sync_api import Browser, expect

from tests.service.imaging.codecs.samples import moving
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


@pytest.mark.parametrize(
    ("key", "size", "side", "strokes"),
    [
        ("End", (64, 96), "native", "96 px, the finest"),
        ("End", (48, 1400), "native", "1400 px, the finest"),
        ("Home", (100, 300), 225, "painted at 225 px"),
        ("Home", (30, 300), "native", "300 px, the finest"),
    ],
)
def test_strokes_are_as_fine_as_the_picture_and_leave_a_panorama_what_it_shows(
    browser: Browser, live: Live, key: str, size: tuple[int, int], side: int | str, strokes: str
) -> None:
    """As in the API the shorter side counts, twice: half of 300 pixels is 75 for it, and 30 are less than that."""
    content = file(photo(height=size[0], width=size[1]))
    with visit(browser, f"{live.url}#style=wave&delivery=now") as page:
        choose(page, content)
        expect(page.locator("#styles [data-state=done]")).to_have_count(2)  # it is open
        page.get_by_label("Brush strokes").press(key)
        expect(page.locator("[data-of=stroke]")).to_have_text(strokes)
        start(page, "Paint")
        done(page)
        painted = live.client.post(f"/v1/stylize/wave?format=png&size={side}", content=content).content
        assert downloaded(page)[1] == painted


def heic(image: Image.Image) -> bytes:
    heif, stream = pytest.importorskip("pillow_heif"), io.BytesIO()
    heif.from_pillow(image).save(stream)
    return stream.getvalue()


DROP = """([content, name]) => {
  const dropped = new DataTransfer();
  dropped.items.add(new File([Uint8Array.from(content)], name));
  document.dispatchEvent(new DragEvent("drop", { dataTransfer: dropped }));
}"""
"""Let a file go that the browser has no type for."""


@pytest.mark.parametrize(
    ("name", "saved"),
    [
        ("IMG_1.HEIC", "IMG_1-wave.jpg"),
        ("a.b.heif", "a.b-wave.jpg"),
        ("clear.heic", "clear-wave.png"),
        ("scan.tiff", "scan-wave.tif"),
        ("SCAN.TIF", "SCAN-wave.tif"),
    ],
)
def test_format_of_a_file_without_a_type_is_that_of_its_name(
    browser: Browser, live: Live, name: str, saved: str
) -> None:
    image = Image.fromarray(photo(height=64, width=96))
    if name == "clear.heic":
        image.putalpha(100)
    content = file(image, "TIFF") if "scan" in name.lower() else heic(image)
    with visit(browser, f"{live.url}#style=wave&delivery=now") as page:
        expect(page.locator("#styles button")).to_have_count(2)
        page.evaluate(DROP, [list(content), name])
        start(page, "Paint")
        done(page)
        assert downloaded(page)[0] == saved


PIXELS = """(selector) => {
  const image = document.querySelector(selector);
  const { naturalWidth: width, naturalHeight: height } = image;
  const context = Object.assign(document.createElement("canvas"), { width, height }).getContext("2d");
  context.drawImage(image, 0, 0);
  return [height, width, ...context.getImageData(0, 0, width, height).data];
}"""


@pytest.mark.parametrize("orientation", [3, 6, 7])
def test_a_webp_is_shown_as_upright_as_it_is_painted(browser: Browser, live: Live, orientation: int) -> None:
    exif = Image.Exif()
    exif[Base.Orientation] = orientation
    content = file(photo(height=64, width=96), "WEBP", exif=exif, lossless=True)
    with visit(browser, f"{live.url}#style=wave&delivery=now&strength=0") as page:
        expect(page.locator("#styles button")).to_have_count(2)
        choose(page, content, "photo.webp", "image/webp")
        start(page, "Paint")
        done(page)
        before, after = (page.evaluate(PIXELS, f"#viewer .{name} img") for name in ("before", "after"))
        assert before[:2] == after[:2]
        assert np.abs(np.array(before) - after).mean() < 8


@pytest.mark.parametrize(("kind", "count"), [("GIF", 4), ("WEBP", 4), ("PNG", 4), ("PNG", 1)])
def test_all_frames_of_an_animation_are_estimated(browser: Browser, live: Live, kind: str, count: int) -> None:
    content = moving(kind, count)
    with visit(browser, live.url) as page:
        expect(page.locator("#styles button")).to_have_count(2)
        with page.expect_request("**/v1/estimate") as asked:
            choose(page, content, f"moving.{kind.lower()}", f"image/{kind.lower()}")
        assert f'"frames":{count},' in (asked.value.post_data or "")
