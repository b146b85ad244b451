"""What the page says and does where the service refuses, or does not answer."""

import pytest
from playwright.sync_api import Browser, Route, expect

from tests.service.live import Live, held
from tests.service.playground.pages import CHROMIUM, choose, done, start, visit

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


@pytest.mark.parametrize(
    ("status", "media_type", "body"),
    [
        (500, "application/json", "null"),
        (500, "application/json", '"no"'),
        (200, "text/html", "<p>Who are you?"),
        (200, "text/html; charset=utf-8", "<p>Who are you?"),
    ],
)
def test_answer_of_something_else_is_told_by_its_status(
    browser: Browser, live: Live, status: int, media_type: str, body: str
) -> None:
    """As of a proxy, which may want to know who somebody is."""
    with visit(browser, f"{live.url}#style=wave&delivery=now", allowed=str(status)) as page:
        choose(page)
        expect(page.locator("#styles [data-state=done]")).to_have_count(2)
        for path in ("**/v1/stylize/**", "**/v1/estimate"):
            page.route(path, lambda route: route.fulfill(status=status, content_type=media_type, body=body))
        start(page, "Paint")
        expect(page.get_by_role("alert")).to_contain_text(f"The service answered {status} without a word.")


def test_job_goes_on_where_the_network_was_away(browser: Browser, live: Live) -> None:
    with visit(browser, f"{live.url}#style=wave&delivery=job", allowed="ERR_INTERNET_DISCONNECTED") as page:
        with held(live):
            choose(page)
            start(page, "Paint")
            expect(page.locator("#status")).to_have_text("0 of 1 tile")
            page.context.set_offline(True)
            expect(page.locator("#status")).to_have_text("No answer. This page asks again in 3.0 s.")
            page.context.set_offline(False)
            expect(page.locator("#status")).to_have_text("0 of 1 tile")
        done(page)
        expect(page.get_by_role("alert")).to_be_empty()


def test_call_that_sends_a_picture_fails_at_once_where_nothing_answers(browser: Browser, live: Live) -> None:
    with visit(browser, f"{live.url}#style=wave&delivery=now", allowed="ERR_INTERNET_DISCONNECTED") as page:
        choose(page)
        expect(page.locator("#estimate")).to_contain_text("96 × 64")
        expect(page.locator("#styles [data-state=done]")).to_have_count(2)
        page.context.set_offline(True)
        start(page, "Paint")
        expect(page.get_by_role("alert")).to_contain_text("The service cannot be reached. Is it running?")
        page.context.set_offline(False)
        start(page, "Paint")
        done(page)
        expect(page.get_by_role("alert")).to_be_empty()


def test_a_long_wait_is_told_and_kept(browser: Browser, live: Live) -> None:
    with visit(browser, f"{live.url}#style=wave&delivery=now", allowed="429") as page:
        refuse = {"status": 429, "headers": {"Retry-After": "600"}, "json": {"title": "Too much", "detail": "used up"}}
        page.route(lambda url: "v1/stylize" in url and "priority" not in url, lambda route: route.fulfill(**refuse))
        choose(page)
        start(page, "Paint")
        expect(page.locator("#status")).to_contain_text("Too much. This page asks again in 10 min 0 s.")
