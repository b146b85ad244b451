"""The page on screens of other kinds."""

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.service.live import Live
from tests.service.playground.pages import CHROMIUM, choose, done, visit

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs chromium")


def style(page: Page, selector: str, name: str) -> str:
    value: str = page.eval_on_selector(selector, "(element, name) => getComputedStyle(element)[name]", name)
    return value


@pytest.mark.parametrize(("width", "height"), [(1280, 800), (960, 430), (932, 400), (320, 640)])
def test_settings_can_be_reached_on_any_screen(browser: Browser, live: Live, width: int, height: int) -> None:
    with visit(browser, f"{live.url}#style=wave", {"width": width, "height": height}) as page:
        choose(page)
        done(page)
        page.get_by_text("Blend, size").click()
        page.get_by_label("Blend in a second style").select_option("ink")
        room = page.locator("#panel").bounding_box()
        assert room is not None
        assert room["height"] > 150
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_what_is_chosen_and_how_far_it_is_can_be_seen_in_forced_colours(browser: Browser, live: Live) -> None:
    with visit(browser, f"{live.url}#style=wave", forced_colors="active") as page:
        choose(page)
        done(page)
        chosen, other = "#styles [aria-pressed=true]", "#styles [aria-pressed=false]"
        assert style(page, chosen, "outlineStyle") == "solid"
        assert style(page, other, "outlineStyle") == "none"
        ground = style(page, "body", "backgroundColor")
        for selector in (".progress span", "#stages i", "#legend i"):
            assert style(page, selector, "backgroundColor") != ground
        expect(page.locator("#stages i")).not_to_have_count(0)
