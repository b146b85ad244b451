"""API keys on the page, as they are typed, refused and kept."""

import json
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.service.live import Live
from tests.service.playground.pages import CHROMIUM, choose, done, visit

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs chromium")


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
