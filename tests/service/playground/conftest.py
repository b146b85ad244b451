"""A browser and a service for the tests of the page."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, sync_playwright

from tests.networks import NARROW_UPSCALE_4, network
from tests.service.live import Live, publish, publish_upscaler, serving
from tests.service.playground.pages import CHROMIUM


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    root = tmp_path_factory.mktemp("page") / "models"
    publish(root, "wave")
    publish(root, "ink", network(seed=1))
    publish_upscaler(root)
    publish(root, "x4-perceptual", network(NARROW_UPSCALE_4, seed=2))
    with serving(root) as started:
        yield started
