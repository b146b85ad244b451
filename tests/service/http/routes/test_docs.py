import re
import shutil
from pathlib import Path

import pytest
from playwright.sync_api import sync_playwright

from service.http.routes.docs import content_security_policy
from tests.service.live import publish, serving

CHROMIUM = shutil.which("chromium")


def test_inline_scripts_are_allowed_by_their_hash_alone() -> None:
    policy = content_security_policy("<script>one</script><script src='two.js'></script>")
    scripts = re.search(r"script-src ([^;]+);", policy)
    assert scripts is not None
    assert scripts[1] == "'self' 'sha256-dpLDrTVAu4A8Ags67mbNiIcSMjTqDG5xQ8Ct1z/0Me0='"  # openssl dgst -sha256 -binary
    assert "frame-ancestors 'none'" in policy


@pytest.mark.skipif(CHROMIUM is None, reason="needs chromium")
def test_page_works_in_a_browser_under_a_prefix_and_its_policy(tmp_path: Path) -> None:
    publish(tmp_path)
    complaints: list[str] = []
    with serving(tmp_path, root_path="/pastiche") as live, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page()
        page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
        page.goto(f"{live.url}/pastiche/docs")
        page.get_by_text("/v1/stylize/{style}").first.wait_for()
        assert page.locator(".servers select").input_value() == "/pastiche"
        browser.close()
    assert complaints == []


def test_documentation_can_be_closed(tmp_path: Path) -> None:
    publish(tmp_path)
    with serving(tmp_path, serve_docs=False) as live:
        for path in ("/docs", "/openapi.json", "/redoc", "/static-offline-docs/swagger-ui.css"):
            answer = live.client.get(path)
            assert (answer.status_code, answer.json()["type"]) == (404, "/problems/not-found")
            assert "openapi.json lists" not in answer.text
        assert "documentation" not in live.client.get("/").json()
        assert live.client.get("/v1/models?page=2").status_code == 422
