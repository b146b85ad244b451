"""What comes after something else was chosen changes nothing on the page."""

import re

import pytest
from playwright.sync_api import Browser, Page, Request, Route, expect

from tests.service.imaging.images import file, photo
from tests.service.live import Live, held
from tests.service.playground.pages import CHROMIUM, PHOTO, choose, done, downloaded, held_back, start, visit

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs chromium")

OTHER = file(photo(height=48, width=80))

WATCHED = """
const decode = HTMLImageElement.prototype.decode;
window.late = []; // what goes on with each image that was decoded while `holding`
HTMLImageElement.prototype.decode = async function () {
  await decode.call(this);
  if (window.holding) await new Promise((resolve) => late.push(resolve));
};
window.addresses = new Map(); // of objects, and their types
const { createObjectURL, revokeObjectURL } = URL;
URL.createObjectURL = (blob) => {
  const address = createObjectURL.call(URL, blob);
  addresses.set(address, blob.type);
  return address;
};
URL.revokeObjectURL = (address) => { addresses.delete(address); revokeObjectURL.call(URL, address); };
"""
"""Images become ready when the test says so, and the addresses of objects are counted."""


def is_thumbnail(url: str) -> bool:
    return "priority=bulk" in url


def hold(page: Page, count: int) -> None:
    """Wait until so many images are held back; those that come from now on are not."""
    page.wait_for_function("(count) => late.length === count", arg=count)
    page.evaluate("holding = false")


def addresses(page: Page, media_type: str) -> int:
    """How many objects of a type have an address."""
    count: int = page.evaluate("(type) => [...addresses.values()].filter((other) => other === type).length", media_type)
    return count


def expect_picture(page: Page, name: str) -> None:
    expect(page.locator("#viewer .before img")).to_have_attribute("alt", f"Your picture {name}")


def begin_late_result(page: Page) -> None:
    """A painting as GIF has arrived, and is not decoded yet."""
    choose(page)
    expect_picture(page, "photo.png")
    expect(page.locator("#styles [data-state=done]")).to_have_count(2)
    page.evaluate("holding = true")
    start(page, "Paint")
    hold(page, 1)


def test_result_is_not_laid_over_the_next_picture(browser: Browser, live: Live) -> None:
    with visit(browser, f"{live.url}#style=wave&delivery=now&format=gif", script=WATCHED) as page:
        begin_late_result(page)
        choose(page, OTHER, "other.png")
        expect_picture(page, "other.png")
        page.evaluate("late[0]()")
        assert page.get_attribute("body", "data-state") == "idle"
        assert "compared" not in str(page.get_attribute("#viewer", "class"))
        assert page.inner_text("#status") == ""
        assert addresses(page, "image/gif") == 0


def test_result_is_not_shown_after_it_was_cancelled(browser: Browser, live: Live) -> None:
    with visit(browser, f"{live.url}#style=wave&delivery=now&format=gif", script=WATCHED) as page:
        begin_late_result(page)
        page.get_by_role("button", name="Cancel").click()
        page.evaluate("late[0]()")
        assert page.inner_text("#status") == "Cancelled."
        assert "compared" not in str(page.get_attribute("#viewer", "class"))
        assert addresses(page, "image/gif") == 0


def test_result_of_a_mode_is_not_shown_where_a_link_leads_to_another(browser: Browser, live: Live) -> None:
    with visit(browser, f"{live.url}#style=wave&delivery=now&format=gif", script=WATCHED) as page:
        begin_late_result(page)
        page.evaluate("location.hash = 'mode=enlarge'")
        expect(page.locator("body")).to_have_attribute("data-mode", "enlarge")
        page.evaluate("late[0]()")
        assert page.get_attribute("body", "data-state") == "idle"
        assert "compared" not in str(page.get_attribute("#viewer", "class"))


def test_slow_picture_does_not_replace_the_one_that_was_opened_after_it(browser: Browser, live: Live) -> None:
    with visit(browser, f"{live.url}#style=wave&delivery=now", script=WATCHED) as page:
        expect(page.locator("#styles [data-state=done]")).to_have_count(2)
        page.evaluate("holding = true")
        choose(page, PHOTO, "slow.png")
        hold(page, 1)
        choose(page, OTHER, "other.png")
        expect_picture(page, "other.png")
        before = addresses(page, "image/png")
        page.evaluate("late[0]()")
        assert page.get_attribute("#viewer .before img", "alt") == "Your picture other.png"
        assert addresses(page, "image/png") == before - 1


def test_picture_that_is_converted_is_given_up_for_the_next(browser: Browser, live: Live) -> None:
    def is_conversion(sent: Request) -> bool:
        return "strength=0" in sent.url

    with visit(browser, f"{live.url}#style=wave&delivery=now") as page:
        expect(page.locator("#styles [data-state=done]")).to_have_count(2)
        page.route(re.compile("strength=0"), lambda _: None)  # which has no answer
        with page.expect_request(is_conversion):
            choose(page, file(photo(height=64, width=96), "TIFF"), "slow.tif", "image/tiff")
        with page.expect_event("requestfailed", is_conversion):
            choose(page, OTHER, "other.png")
        expect_picture(page, "other.png")
        expect(page.get_by_role("alert")).to_be_empty()


def test_sample_does_not_replace_the_picture_that_was_chosen_after_it(browser: Browser, live: Live) -> None:
    with visit(browser, f"{live.url}#style=wave&delivery=now", script=WATCHED) as page:
        expect(page.locator("#styles [data-state=done]")).to_have_count(2)
        asked = held_back(page, "**/playground/cat.webp")
        with page.expect_request("**/playground/cat.webp"):
            page.get_by_role("button", name="Try this cat").click()
        choose(page, OTHER, "other.png")
        expect_picture(page, "other.png")
        page.evaluate("holding = true")
        asked[0].continue_()
        hold(page, 1)
        page.evaluate("late[0]()")
        assert page.get_attribute("#viewer .before img", "alt") == "Your picture other.png"


def test_thumbnails_of_the_picture_stay_where_the_cat_comes_late(browser: Browser, live: Live) -> None:
    with visit(browser, f"{live.url}#style=wave&delivery=now", script=f"{WATCHED} window.holding = true;") as page:
        hold(page, 1)
        choose(page)
        expect_picture(page, "photo.png")
        expect(page.locator("#styles [data-state=done]")).to_have_count(2)
        addresses_of_all = "[...document.querySelectorAll('#styles img')].map(({ src }) => src)"
        painted = page.evaluate(addresses_of_all)
        page.evaluate("late[0]()")
        assert page.evaluate(addresses_of_all) == painted
        expect(page.locator("#styles-title")).to_have_text("2 styles, each painted from your picture")


def test_cat_is_painted_once_whatever_is_made(browser: Browser, live: Live) -> None:
    with visit(browser, live.url) as page:
        expect(page.locator("#styles [data-state=done]")).to_have_count(2)
        painted: list[str] = []
        page.on("request", lambda sent: painted.append(sent.url) if is_thumbnail(sent.url) else None)
        for name in ("Enlarge", "Paint"):
            page.get_by_role("group", name="What to make").get_by_role("button", name=name).click()
        choose(page)
        expect_picture(page, "photo.png")
        expect(page.locator("#styles [data-state=done]")).to_have_count(2)
        assert len(painted) == 2


def test_thumbnails_that_wait_leave_the_words_about_the_result(browser: Browser, live: Live) -> None:
    waiting: list[Route] = []

    def refuse_first(route: Route) -> None:
        if len(waiting) == 2:
            route.continue_()
        else:
            waiting.append(route)

    with visit(browser, f"{live.url}#style=wave", allowed="503") as page:
        expect(page.locator("#styles [data-state=done]")).to_have_count(2)
        page.route(is_thumbnail, refuse_first)
        choose(page)
        done(page)
        assert len(waiting) == 2
        for route in waiting:
            route.fulfill(status=503, headers={"Retry-After": "1"}, json={"detail": "full"})
        expect(page.locator("#styles [data-state=done]")).to_have_count(2)
        expect(page.locator("#status")).to_contain_text("Painted in")


def test_addresses_of_results_are_given_back(browser: Browser, live: Live) -> None:
    with visit(browser, f"{live.url}#style=wave", script=WATCHED) as page:
        choose(page)
        done(page)
        page.locator("#format").select_option("GIF")
        assert downloaded(page)[1][:4] == b"GIF8"
        page.get_by_role("button", name="Enlarge", exact=True).first.click()
        page.locator("#preview.compared").wait_for()
        assert addresses(page, "image/gif") == 1  # that of the download, for a minute


@pytest.mark.parametrize("change", ["style", "format"])
def test_job_that_was_begun_before_something_else_was_chosen_is_not_what_is_saved(
    browser: Browser, live: Live, change: str
) -> None:
    with visit(browser, f"{live.url}#style=wave&delivery=job") as page:
        with held(live):
            choose(page)
            start(page, "Paint")
            expect(page.locator("#status")).to_have_text("0 of 1 tile")
            if change == "style":
                page.get_by_role("button", name="ink", exact=True).click()
            else:
                page.locator("#format").select_option("GIF")
        expect(page.locator("#status")).to_contain_text("Painted in")
        if change == "style":
            start(page, "Paint")
        done(page)
        name = "photo-ink.png" if change == "style" else "photo-wave.gif"
        assert downloaded(page)[0] == name


@pytest.mark.parametrize("ended", ["cancelled", "failed"])
def test_result_can_be_saved_where_another_format_of_it_was_not(browser: Browser, live: Live, ended: str) -> None:
    with visit(browser, f"{live.url}#style=wave", allowed="500") as page:
        choose(page)
        done(page)
        page.locator("#format").select_option("GIF")
        if ended == "failed":
            page.route("**/v1/stylize/wave?*format=gif", lambda route: route.fulfill(status=500, json={}), times=1)
            page.get_by_role("button", name="Download").click()
            expect(page.get_by_role("alert")).not_to_be_empty()
        else:
            with held(live):
                page.get_by_role("button", name="Download").click()
                page.get_by_role("button", name="Cancel").click()
                expect(page.locator("#status")).to_have_text("Cancelled.")
        assert page.get_attribute("body", "data-state") == "done"
        assert downloaded(page)[0] == "photo-wave.gif"
