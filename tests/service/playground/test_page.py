"""The page as people use it, in a real browser, against the real service on the smallest networks there are."""

import re
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest
import torch
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, Route, expect

from model_store import ModelStore
from model_store.importers.importing import import_checkpoint
from model_store.importers.labels import Labels
from tests.foreign import compact
from tests.networks import network
from tests.service.http.access.keyed import write_keys
from tests.service.imaging.images import file, photo
from tests.service.live import Live, held, pixels, publish, publish_restorer, publish_upscaler, serving
from tests.service.playground.pages import (
    CHROMIUM,
    DESK,
    PHONE,
    PHOTO,
    brush,
    choose,
    done,
    downloaded,
    drag,
    held_back,
    start,
    visit,
)

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs chromium")


def assert_accessible(page: Page) -> None:
    found = Axe().run(page)
    assert found.violations_count == 0, found.generate_report()


@pytest.mark.parametrize(("viewport", "scheme"), [(DESK, "light"), (PHONE, "dark")])
def test_picture_is_painted_in_every_style_compared_and_saved(
    browser: Browser, live: Live, viewport: dict[str, int], scheme: str
) -> None:
    with visit(browser, live.url, viewport, color_scheme=scheme) as page:
        expect(page.locator("#styles [data-state=done]")).to_have_count(2)
        assert_accessible(page)
        choose(page)
        done(page)
        page.get_by_role("button", name="wave").click()
        page.wait_for_url("**#style=wave")
        done(page)
        expect(page.locator("#styles [data-state=done]")).to_have_count(2)
        expect(page.locator("#styles [aria-pressed=true]")).to_have_text("wave")
        divider = page.get_by_role("slider", name="Before and after")
        divider.press("ArrowLeft")
        expect(divider).to_have_attribute("aria-valuenow", "48")
        drag(page, divider, (0.5, 0.5), (3.5, 0.5))
        expect(divider).not_to_have_attribute("aria-valuenow", "48")
        name, content = downloaded(page)
        assert name == "photo-wave.png"
        assert content == live.client.post("/v1/stylize/wave?format=png", content=PHOTO).content
        expect(page.locator("#legend")).to_contain_text("network")
        page.locator("#format").select_option("TIFF")
        name, content = downloaded(page)
        assert (name, content[:4]) == ("photo-wave.tif", b"II*\0")
        assert_accessible(page)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_pixels_are_shown_one_to_one_and_moved_by_keys(browser: Browser, live: Live) -> None:
    with visit(browser, f"{live.url}#style=wave") as page:
        choose(page)
        done(page)
        page.get_by_role("button", name="1:1").click()
        level, painting = page.locator("#zoom-level"), page.locator("#viewer .after img")
        expect(level).to_have_text("100 %")
        box = painting.bounding_box()
        assert box is not None
        assert (box["width"], box["height"]) == (96, 64)
        page.locator("#viewer").press("+")
        expect(level).to_have_text("125 %")
        page.locator("#viewer").press("ArrowLeft")
        moved = painting.bounding_box()
        assert moved is not None
        assert moved["x"] > box["x"]


@pytest.mark.parametrize("viewport", [DESK, PHONE])
def test_part_is_enlarged_before_the_whole(browser: Browser, live: Live, viewport: dict[str, int]) -> None:
    content = file(photo(height=200, width=300), "JPEG")
    with visit(browser, f"{live.url}#mode=enlarge", viewport) as page:
        choose(page, content, "cat.jpg", "image/jpeg")
        expect(page.locator("#preview")).to_have_class(re.compile("compared"))  # a failure shows the note, too
        expect(page.locator("#preview-note")).to_contain_text("128 × 128 of your pixels")
        with page.expect_response("**/v1/upscale/4?model=x4-perceptual*"):
            page.get_by_label("Sharper").check()
        expect(page.locator("#preview .after img")).to_have_js_property("naturalWidth", 512)
        assert_accessible(page)
        start(page, "Enlarge")
        done(page)
        expect(page.locator("#status")).to_contain_text("1200 × 800")
        name, enlarged = downloaded(page)
        assert (name, pixels(enlarged).shape) == ("cat-x4.jpg", (800, 1200, 3))


def test_painting_in_progress_is_given_up_for_an_enlargement(browser: Browser, live: Live) -> None:
    with visit(browser, f"{live.url}#style=wave") as page:
        with held(live):
            with page.expect_request("**/v1/stylize/wave?size=native*") as begun:
                choose(page)
            expect(page.locator("body")).to_have_attribute("data-state", "busy")
            page.get_by_role("button", name="Enlarge", exact=True).first.click()
            expect(page.locator("body")).to_have_attribute("data-state", "idle")
        page.locator("#preview.compared").wait_for()
        assert begun.value.failure
        expect(page.locator("#viewer")).not_to_have_class(re.compile("compared"))
        expect(page.locator("#status")).to_be_empty()


def test_only_what_was_brushed_is_painted(browser: Browser, live: Live) -> None:
    with visit(browser, f"{live.url}#style=wave&feather=0") as page:
        choose(page)
        done(page)
        page.get_by_role("button", name="Paint only a part").click()
        assert_accessible(page)
        drag(page, page.locator("#viewer"), (0.35, 0.5), (0.45, 0.5))
        viewer = page.locator("#viewer")
        viewer.press("ArrowRight")
        viewer.press("Space")
        with page.expect_response("**/v1/stylize/wave?*"):
            page.get_by_role("button", name="Done").click()
        done(page)
        expect(page.locator("#curl")).to_have_text(re.compile("curl -F image=@photo.png -F mask=@mask.png '.*"))
        before, after = pixels(PHOTO).astype(int), pixels(downloaded(page)[1])
        changed = np.abs(before - after).sum(axis=2) > 0
        assert changed[:, :40].any()
        assert not changed[:, 72:].any()


def test_large_work_is_a_job_that_is_watched_and_can_be_cancelled(browser: Browser, live: Live) -> None:
    with visit(browser, f"{live.url}#style=wave&delivery=job") as page:
        with held(live):
            choose(page)
            start(page, "Paint")
            expect(page.locator("#status")).to_have_text("0 of 1 tile")
            expect(page.get_by_role("progressbar")).to_have_attribute("aria-valuenow", "0")
            assert_accessible(page)
            with page.expect_response(lambda answer: answer.request.method == "DELETE") as ended:
                page.get_by_role("button", name="Cancel").click()
            assert ended.value.status == 204
            expect(page.locator("#status")).to_have_text("Cancelled.")
        start(page, "Paint")
        done(page)
        expect(page.locator("#curl")).to_contain_text("curl -X PUT --data-binary @photo.png")
        assert downloaded(page)[1] == live.client.post("/v1/stylize/wave?format=png", content=PHOTO).content


def test_job_goes_on_after_a_reload(browser: Browser, live: Live) -> None:
    with visit(browser, f"{live.url}#style=wave&delivery=job") as page:
        with held(live):
            choose(page)
            start(page, "Paint")
            expect(page.locator("#status")).to_have_text("0 of 1 tile")
            with page.context.new_page() as other:  # which has no job, and leaves that of this tab alone
                other.goto(live.url)
                expect(other.locator("#styles button")).to_have_count(2)
            page.reload()
            expect(page.locator("#status")).to_have_text("0 of 1 tile")
            expect(page.get_by_role("button", name="Cancel")).to_be_visible()
            expect(page.locator("#viewer .before img")).to_have_attribute("alt", "Your picture photo.png")
        done(page)
        assert downloaded(page)[1] == live.client.post("/v1/stylize/wave?format=png", content=PHOTO).content
        page.reload()
        expect(page.locator("#styles [data-state=done]")).to_have_count(2)
        expect(page.locator("body")).to_have_class("empty")


def test_job_that_is_begun_anew_paints_what_was_brushed(browser: Browser, live: Live) -> None:
    with visit(browser, f"{live.url}#style=wave&delivery=job", allowed="404") as page:
        choose(page)
        brush(page)
        with held(live):
            with page.expect_request(lambda sent: sent.method == "PUT") as begun:
                start(page, "Paint")
            expect(page.locator("#status")).to_have_text("0 of 1 tile")
            with page.expect_request("**/v1/jobs/*"):
                held_back(page, "**/v1/jobs/*")  # so that the page does not see its job gone
            live.client.delete(urlsplit(begun.value.url).path).raise_for_status()
            with page.expect_response(lambda answer: answer.request.method == "PUT"):
                page.reload()
        done(page)
        expect(page.get_by_role("button", name="Change the part")).to_be_visible()
        expect(page.locator("#curl")).to_contain_text("mask=@mask.png")
        before, after = pixels(PHOTO).astype(int), pixels(downloaded(page)[1])
        changed = np.abs(before - after).sum(axis=2) > 0
        assert changed[:, :40].any()
        assert not changed[:, 72:].any()


@pytest.mark.parametrize("status", [0, 500])
def test_job_that_does_not_answer_is_not_begun_anew(browser: Browser, live: Live, status: int) -> None:
    with visit(browser, f"{live.url}#style=wave&delivery=job", allowed="Failed to load resource") as page:
        with held(live):
            choose(page)
            start(page, "Paint")
            expect(page.locator("#status")).to_have_text("0 of 1 tile")
            begun: list[str] = []
            page.on("request", lambda sent: begun.append(sent.url) if sent.method == "PUT" else None)
            answer = {"status": status, "json": {"detail": "broken"}}
            page.route("**/v1/jobs/*", lambda route: route.fulfill(**answer) if status else route.abort())
            page.reload()
            if status:
                expect(page.get_by_role("alert")).to_contain_text("broken")
            else:
                expect(page.locator("#status")).to_have_text("No answer. This page asks again in 3.0 s.")
        assert begun == []


def test_job_for_a_download_leaves_no_job_after_a_reload(browser: Browser, live: Live) -> None:
    with visit(browser, f"{live.url}#style=wave&delivery=job&format=tiff") as page:
        choose(page)
        start(page, "Paint")
        done(page)
        with held(live):
            page.get_by_role("button", name="Download").click()
            expect(page.locator("#status")).to_have_text("0 of 1 tile")
            page.reload()
        expect(page.locator("#styles [data-state=done]")).to_have_count(2)
        expect(page.locator("body")).to_have_class("empty")
        choose(page)
        start(page, "Paint")
        done(page)
        name, content = downloaded(page)
        assert (name, content[:4]) == ("photo-wave.tif", b"II*\0")


def test_progress_says_what_is_left(browser: Browser, live: Live) -> None:
    watched: list[int] = []

    def tell(route: Route) -> None:
        if route.request.method == "DELETE":
            route.fulfill(status=204)
            return
        watched.append(min(len(watched), 3))
        route.fulfill(json={"state": "running", "finished": None, "progress": {"tiles": 4, "done": watched[-1]}})

    with visit(browser, f"{live.url}#style=wave&delivery=job") as page:
        page.route("**/v1/jobs/*", tell)
        choose(page)
        start(page, "Paint")
        status = page.get_by_role("status").filter(has_text=re.compile(r"3 of 4 tiles, about .+ left"))
        expect(status).to_have_attribute("aria-live", "off")  # or each of them would be read out
        page.get_by_role("button", name="Cancel").click()
        expect(page.get_by_role("status").filter(has_text="Cancelled.")).to_have_attribute("aria-live", "polite")


def test_damaged_photograph_is_restored_and_the_page_says_why(browser: Browser, tmp_path: Path) -> None:
    publish(tmp_path, "wave")
    publish_upscaler(tmp_path)
    publish_restorer(tmp_path)
    with serving(tmp_path) as live, visit(browser, f"{live.url}#mode=enlarge") as page:
        choose(page, file(photo(height=64, width=96), "JPEG", quality=20), "old.jpg", "image/jpeg")
        expect(page.get_by_role("radio", name=re.compile("^Automatic"))).to_be_checked()
        start(page, "Enlarge")
        done(page)
        expect(page.locator("#status")).to_contain_text("x4-photo v1: compressed (JPEG quality 20)")
        page.get_by_role("radio", name=re.compile("^Faithful")).check()
        start(page, "Enlarge")
        done(page)
        expect(page.locator("#status")).to_have_text(re.compile(r".* x4 v1$"))


def test_networks_that_restore_are_offered_at_the_size_of_the_picture(browser: Browser, tmp_path: Path) -> None:
    root = tmp_path / "models"
    publish_upscaler(root)
    torch.save(compact(scale=1), tmp_path / "denoise.pth")
    import_checkpoint(ModelStore(root), tmp_path / "denoise.pth", Labels("denoise", title="Less noise"))
    torch.save(compact(scale=3), tmp_path / "x3.pth")
    import_checkpoint(ModelStore(root), tmp_path / "x3.pth", Labels("triple"))
    with serving(root) as live, visit(browser, f"{live.url}#mode=enlarge") as page:
        choose(page)
        scales = page.get_by_role("group", name="How many times").get_by_role("button")
        expect(scales).to_have_text(["×196 × 64", "×3288 × 192", "×4384 × 256"])  # the size stands below
        scales.first.click()
        expect(page.get_by_role("radio", name="denoise")).to_be_checked()
        expect(page.locator("#preview-note")).to_contain_text("of your pixels, by denoise v1")
        start(page, "Restore")
        done(page)
        expect(page.locator("#status")).to_have_text(re.compile(r"Restored in .*: 96 × 64, .* denoise v1$"))
        expect(page.locator("#made")).to_have_text("Restored")
        assert downloaded(page)[0] == "photo-x1.png"
        scales.last.click()
        start(page, "Enlarge")
        done(page)
        expect(page.locator("#status")).to_contain_text("x4 v1")


def test_style_that_was_published_meanwhile_appears(browser: Browser, tmp_path: Path) -> None:
    publish(tmp_path, "wave")
    with serving(tmp_path) as live, visit(browser, live.url) as page:
        expect(page.locator("#styles [data-state=done]")).to_have_count(1)
        publish(tmp_path, "ink", network(seed=1))
        live.until("/v1/models", lambda answer: "ink" in answer.text)
        page.evaluate("dispatchEvent(new Event('focus'))")
        expect(page.locator("#styles [data-state=done]")).to_have_count(2)
        expect(page.locator("#styles-title")).to_have_text("2 styles, and what they make of this cat")


def test_errors_are_told_in_words(browser: Browser, live: Live) -> None:
    with visit(browser, live.url, allowed="415") as page:
        expect(page.locator("#styles button")).to_have_count(2)
        choose(page, b"no picture at all")
        expect(page.get_by_role("alert")).to_contain_text("the body is none of image/jpeg")
        choose(page)
        done(page)
        expect(page.get_by_role("alert")).to_be_empty()


def test_errors_go_where_what_follows_succeeds(browser: Browser, live: Live) -> None:
    with visit(browser, f"{live.url}#style=wave&delivery=now", allowed="500") as page:
        choose(page)
        expect(page.locator("#estimate")).to_contain_text("96 × 64")
        for change in (
            page.get_by_label("Keep the photograph’s colours").check,
            page.get_by_role("button", name="Enlarge", exact=True).first.click,
        ):
            page.route("**/v1/estimate", lambda route: route.fulfill(status=500, json={"detail": "broken"}))
            page.get_by_role("button", name="ink", exact=True).click()
            expect(page.get_by_role("alert")).to_contain_text("broken")
            expect(page.locator("#estimate")).to_be_empty()
            page.unroute("**/v1/estimate")
            change()
            expect(page.locator("#estimate")).not_to_be_empty()
            expect(page.get_by_role("alert")).to_be_empty()


@pytest.mark.parametrize(("status", "title"), [(503, "The service is full"), (429, "The client has used up its limit")])
def test_busy_service_is_asked_again_when_it_says(browser: Browser, live: Live, status: int, title: str) -> None:
    refused: list[str] = []

    def refuse_once(route: Route) -> None:
        if refused:
            route.continue_()
            return
        refused.append(route.request.url)
        route.fulfill(status=status, headers={"Retry-After": "1"}, json={"title": title, "detail": "full"})

    with visit(browser, f"{live.url}#style=wave", allowed=str(status)) as page:
        page.route(lambda url: "v1/stylize" in url and "priority" not in url, refuse_once)
        choose(page)
        expect(page.locator("#status")).to_contain_text(f"{title}. This page asks again in 1.0 s")
        done(page)
        assert len(refused) == 1


def test_link_has_the_settings_and_nothing_that_is_not_one(browser: Browser, live: Live) -> None:
    made = "style=wave&blend=ink&share=25&strength=60&colour=1&format=webp&quality=70"
    with visit(browser, f"{live.url}#{made}&strength=700&evil=1&mode=none") as page:
        choose(page)
        done(page)
        expect(page.get_by_label("Strength")).to_have_value("60")
        expect(page.get_by_label("Keep the photograph’s colours")).to_be_checked()
        page.get_by_text("The same by curl").click()
        query = "size=native&strength=0.6&preserve_color=true&format=webp&quality=70"
        address = f"{live.url}/v1/stylize/wave:0.75,ink:0.25?{query}"
        expect(page.locator("#curl")).to_have_text(f"curl --data-binary @photo.png '{address}' -o photo-wave-ink.webp")
        page.get_by_label("Keep the photograph’s colours").uncheck()
        page.wait_for_url("**#" + made.replace("&colour=1", ""))


def test_page_works_under_a_prefix_and_asks_for_a_key(browser: Browser, tmp_path: Path) -> None:
    key = write_keys(tmp_path / "keys.toml", shop="")["shop"]["Authorization"].removeprefix("Bearer ")
    publish(tmp_path / "models")
    with (
        serving(tmp_path / "models", root_path="/pastiche", keys_file=tmp_path / "keys.toml") as live,
        visit(browser, f"{live.url}/pastiche", allowed="401") as page,
    ):
        assert page.url == f"{live.url}/pastiche/"
        field = page.get_by_role("dialog").get_by_label("API key", exact=True)
        field.fill("guess")
        field.press("Enter")
        expect(page.locator("#key-detail")).to_contain_text("the API key is not known here")
        field.fill(key)
        assert_accessible(page)
        field.press("Enter")
        choose(page)
        done(page)
        expect(page.locator("#curl")).to_contain_text(
            f"$PASTICHE_KEY\" --data-binary @photo.png '{live.url}/pastiche/v1"
        )
        assert key not in page.content()
        assert key not in page.url


def test_call_without_a_key_is_sent_again_where_one_was_typed_meanwhile(browser: Browser, tmp_path: Path) -> None:
    key = write_keys(tmp_path / "keys.toml", shop="")["shop"]["Authorization"].removeprefix("Bearer ")
    publish(tmp_path / "models")
    with (
        serving(tmp_path / "models", keys_file=tmp_path / "keys.toml") as live,
        visit(browser, live.url, allowed="401") as page,
    ):
        field = page.get_by_role("dialog").get_by_label("API key", exact=True)
        field.wait_for()
        late = held_back(page, "**/v1/models")
        with page.expect_request("**/v1/models"):
            page.evaluate("dispatchEvent(new Event('focus'))")
        field.fill(key)
        field.press("Enter")
        expect(page.locator("#styles [data-state=done]")).to_have_count(1)
        with page.expect_response(lambda answer: answer.url.endswith("/v1/models") and answer.status == 200):
            late[0].continue_()
        assert page.locator("#key-dialog[open]").count() == 0
