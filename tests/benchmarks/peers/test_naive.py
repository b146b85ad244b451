"""The plain service."""

import io
from pathlib import Path

from fastapi.testclient import TestClient
from PIL import Image

from benchmarks import photos
from benchmarks.peers.naive import create_app
from model_store import Draft, ModelStore
from tests.networks import network


def test_photo_is_stylized(tmp_path: Path) -> None:
    store = ModelStore(tmp_path)
    store.publish(network(), Draft(name="narrow", task="style"))
    with TestClient(create_app(store)) as client:
        assert client.get("/health").status_code == 200
        sent = {"request": ("photo.jpg", photos.jpeg(photos.photo(64, 48)), "image/jpeg")}
        answer = client.post("/stylize/narrow", files=sent)
    image = Image.open(io.BytesIO(answer.content))
    assert (answer.headers["content-type"], image.format, image.size) == ("image/jpeg", "JPEG", (64, 48))
