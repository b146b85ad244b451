"""The spine: a painting and photographs go in, and a running service serves the new style, without a restart."""

from pathlib import Path

import numpy as np

from tests.service.imaging.images import file, photo
from tests.service.live import painted, pixels, publish, same, serving
from tests.trainer.samples import loss_network_file, photograph, photographs
from trainer.__main__ import main


def test_a_trained_style_appears_in_the_running_service(tmp_path: Path) -> None:
    store = tmp_path / "models"
    publish(store, "old")
    image = photo(1)
    options = {
        "name": "new",
        "title": "A new style",
        "style-image": photograph(tmp_path / "painting.png", 64, 64, seed=9),
        "content": photographs(tmp_path / "photos"),
        "loss-network": loss_network_file(tmp_path / "loss.safetensors"),
        "architecture": "c3s1-4,d6,R6,u4,c3s1-3",
        "image-size": 16,
        "steps": 20,
        "device": "cpu",
        "store": store,
        "run": tmp_path / "run",
    }
    with serving(store) as live:
        assert live.client.post("/v1/stylize/new", content=file(image)).status_code == 404
        before = live.client.post("/v1/stylize/old", content=file(image)).content
        assert main(["style", *(part for name, value in options.items() for part in (f"--{name}", str(value)))]) == 0
        answer = live.until("/v1/models/new", lambda found: found.status_code == 200)
        assert answer.json()["title"] == "A new style"
        result = live.client.post("/v1/stylize/new", content=file(image))
        assert result.headers["X-Model"] == "new@1"
        assert same(pixels(result.content), painted(store, image, "new"))
        assert not np.array_equal(pixels(result.content), image)
        assert live.client.post("/v1/stylize/old", content=file(image)).content == before
