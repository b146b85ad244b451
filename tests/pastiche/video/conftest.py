from collections.abc import Iterator
from pathlib import Path

import pytest

import pastiche
from tests.networks import NARROW_UPSCALE_4, network
from tests.service.live import publish


@pytest.fixture(scope="session")
def video_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("video") / "models"
    publish(root, "wave", network("c3s1-4,d4,u4,c3s1-3", norm="none"))
    publish(root, "x4", network(NARROW_UPSCALE_4, norm="none"))
    return root


@pytest.fixture(scope="session")
def style(video_store: Path) -> Iterator[pastiche.Model]:
    with pastiche.load("wave", stores=video_store, device="cpu", precision="fp32", threads=1) as model:
        yield model
