"""What the page says and does where the service refuses, or does not answer."""

import pytest
from playwright.sync_api import Browser, Route, expect

from tests.service.live import Live
from tests.service.playground.pages import CHROMIUM, visit

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs chromium")


def refuse_calls(route: Route) -> None:
    """Whatever asks for JSON; browsers that open a page get it."""
    if "html" in route.request.headers["accept"]:
        route.continue_()
    else:
        route.fulfill(status=429, json={})


def test_page_works_where_its_second_call_is_refused(browser: Browser, live: Live) -> None:
    with visit(browser, f"{live.url}#style=wave", allowed="429") as page:
        page.route(f"{live.url}/", refuse_calls)
        page.reload()
        expect(page.locator("#styles [data-state=done]")).to_have_count(2)
