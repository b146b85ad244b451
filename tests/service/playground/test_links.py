"""Links that name what the service does not have."""

import re

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.service.live import Live
from tests.service.playground.pages import CHROMIUM, choose, done, held_back, start, visit

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs chromium")

GONE = "style=gone&blend=gone&scale=3&network=gone"


def follow(page: Page, fragment: str) -> None:
    """A link to the page that is open."""
    page.evaluate("(fragment) => { location.hash = fragment; }", fragment)


def test_link_to_a_scale_without_networks_opens_the_page(browser: Browser, live: Live) -> None:
    with visit(browser, f"{live.url}#mode=enlarge&scale=1") as page:
        expect(page.locator("#styles [data-state=done]")).to_have_count(2)
        choose(page)
        expect(page.locator("#scales [aria-pressed=true]")).to_have_text(re.compile("×4"))
        start(page, "Enlarge")
        done(page)
        expect(page.locator("#status")).to_contain_text("384 × 256")


@pytest.mark.parametrize("later", [False, True])
def test_networks_that_are_not_served_are_not_asked_for(browser: Browser, live: Live, later: bool) -> None:
    with visit(browser, live.url if later else f"{live.url}#mode=enlarge&{GONE}") as page:
        expect(page.locator("#styles [data-state=done]")).to_have_count(2)
        choose(page)
        if later:
            follow(page, f"mode=enlarge&{GONE}")
        expect(page.get_by_role("radio", name=re.compile("^Faithful"))).to_be_checked()
        expect(page.locator("#scales [aria-pressed=true]")).to_have_text(re.compile("×4"))
        start(page, "Enlarge")
        done(page)
        expect(page.locator("#status")).to_contain_text("x4 v1")


@pytest.mark.parametrize("later", [False, True])
def test_styles_that_are_not_served_are_not_asked_for(browser: Browser, live: Live, later: bool) -> None:
    with visit(browser, live.url if later else f"{live.url}#{GONE}") as page:
        expect(page.locator("#styles [data-state=done]")).to_have_count(2)
        choose(page)
        done(page)
        if later:
            follow(page, GONE)
        done(page)
        page.get_by_text("Blend, size").click()
        expect(page.get_by_label("Blend in a second style")).to_have_value("")
        expect(page.locator("#styles [aria-pressed=true]")).to_have_count(1)
        expect(page.locator("#curl")).to_contain_text(re.compile("/v1/stylize/(ink|wave)\\?"))


def test_link_that_is_followed_before_anything_is_known_is_kept(browser: Browser, live: Live) -> None:
    with visit(browser, live.url) as page:
        asked = held_back(page, "**/v1/models")
        with page.expect_request("**/v1/models"):
            page.reload()
        follow(page, "style=ink&blend=wave&mode=enlarge&network=x4-perceptual")
        expect(page.locator("body")).to_have_attribute("data-mode", "enlarge")
        asked[0].continue_()
        choose(page)
        expect(page.get_by_role("radio", name=re.compile("^Sharper"))).to_be_checked()
        page.get_by_role("button", name="Paint", exact=True).first.click()
        expect(page.locator("#curl")).to_contain_text("/v1/stylize/ink:0.6,wave:0.4?")
