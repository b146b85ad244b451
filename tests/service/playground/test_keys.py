"""API keys on the page, as they are typed, refused and kept."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.service.http.access.keyed import write_keys
from tests.service.live import Live, publish, serving
from tests.service.playground.pages import CHROMIUM, choose, done, visit

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs chromium")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("keyed")


@pytest.fixture(scope="module")
def key(folder: Path) -> str:
    return write_keys(folder / "keys.toml", shop="")["shop"]["Authorization"].removeprefix("Bearer ")


@pytest.fixture(scope="module")
def keyed(folder: Path, key: str) -> Iterator[Live]:
    """A service that knows this key."""
    publish(folder / "models")
    with serving(folder / "models", keys_file=folder / "keys.toml") as live:
        assert live.client.get("/v1/models").status_code == 401
        assert live.client.get("/v1/models", headers={"X-API-Key": key}).status_code == 200
        yield live


def test_page_works_where_it_may_store_nothing(browser: Browser, live: Live, tmp_path: Path) -> None:
    (tmp_path / "Default").mkdir()
    forbidden = {"profile": {"default_content_setting_values": {"cookies": 2}}}
    (tmp_path / "Default" / "Preferences").write_text(json.dumps(forbidden))
    chromium = browser.browser_type.launch_persistent_context
    with chromium(tmp_path, executable_path=CHROMIUM, args=["--no-sandbox"]) as context:
        page = context.new_page()
        page.goto(f"{live.url}#style=wave")
        choose(page)
        done(page)
        expect(page.get_by_role("alert")).to_be_empty()


def test_key_that_no_header_can_have_is_refused_like_any_other(browser: Browser, keyed: Live, key: str) -> None:
    with visit(browser, keyed.url, allowed="401") as page:
        field = page.get_by_role("dialog").get_by_label("API key", exact=True)
        field.fill(f"{key}\u200b")  # as it is copied from some pages
        field.press("Enter")
        expect(page.locator("#key-detail")).to_contain_text("the API key is not known here")
        field.fill(key)
        field.press("Enter")
        expect(page.locator("#styles [data-state=done]")).to_have_count(1)


def test_key_is_asked_for_once_where_somebody_has_none(browser: Browser, keyed: Live, key: str) -> None:
    with visit(browser, keyed.url, allowed="401") as page:
        dialog = page.get_by_role("dialog")
        expect(dialog).to_have_accessible_description(re.compile("there is no API key"))
        dialog.get_by_role("button", name="Cancel").click()
        with page.expect_response("**/v1/models"):
            page.evaluate("dispatchEvent(new Event('focus'))")
        expect(page.get_by_role("alert")).to_contain_text("An API key is needed")
        page.get_by_role("button", name="Key", exact=True).click()
        dialog.get_by_label("API key", exact=True).fill(key)
        dialog.get_by_role("button", name="Use this key").click()
        expect(page.locator("#styles [data-state=done]")).to_have_count(1)
