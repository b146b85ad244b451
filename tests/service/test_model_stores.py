"""Model stores that change while requests are answered, over HTTP: published to, rolled back, emptied, unmounted."""

import os
import shutil
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from model_store import ModelStore
from tests.networks import network
from tests.service.imaging.images import file, photo
from tests.service.live import PATIENCE, Live, publish, serving

ROUNDS = int(os.environ.get("SOAK_ROUNDS", "5"))
"""Publications and rollbacks under load; `make soak` has two hundred."""

CLIENTS = 4


def paint(live: Live, name: str = "wave") -> httpx.Response:
    return live.client.post(f"/v1/stylize/{name}", content=file(photo()))


def vanish(root: Path, how: str) -> Path:
    """Take the folder away, as an unmounted volume; returns where it is meanwhile."""
    away = root.with_name("away")
    root.rename(away)
    if how == "unmounted":
        root.mkdir()  # the empty mount point
    return away


@pytest.mark.parametrize("how", ["gone", "unmounted"])
def test_store_that_vanishes_keeps_its_models_until_it_is_back(tmp_path: Path, how: str) -> None:
    root = tmp_path / "store"
    publish(root)
    publish(root, "night")
    with serving(root) as live:
        away = vanish(root, how)
        warned = live.until("/readyz", lambda answer: bool(answer.json()["warnings"]))
        assert warned.status_code == 200
        assert warned.json()["warnings"] == [f"the store {root} is missing; its models stay loaded"]
        assert warned.json()["models"] == ["night@1", "wave@1"]
        assert live.metric("pastiche_store_available", store=str(root)) == 0
        for name in ("wave", "night"):
            assert paint(live, name).headers["X-Model"] == f"{name}@1"
        publish(away)
        if how == "unmounted":
            root.rmdir()
        away.rename(root)
        live.until("/v1/models/wave", lambda answer: answer.json()["version"] == 2)
        assert live.client.get("/readyz").json()["warnings"] == []
        assert live.metric("pastiche_store_available", store=str(root)) == 1
        assert paint(live).headers["X-Model"] == "wave@2"


def test_model_that_is_removed_on_purpose_is_unloaded(tmp_path: Path) -> None:
    root = tmp_path / "store"
    publish(root)
    publish(root, "night")
    with serving(root) as live:
        shutil.rmtree(root / "wave")
        live.until("/v1/models/wave", lambda answer: answer.status_code == 404)
        assert paint(live).status_code == 404
        assert paint(live, "night").status_code == 200
        shutil.rmtree(root / "night")
        live.until("/v1/models/night", lambda answer: answer.status_code == 404)
        ready = live.client.get("/readyz")
        assert (ready.status_code, ready.json()["problems"]) == (503, ["no model is served"])
        assert ready.json()["warnings"] == []
        assert live.metric("pastiche_store_available", store=str(root)) == 1


@contextmanager
def load(live: Live) -> Iterator[Counter[str]]:
    """Clients that ask one after the other; how often each status and version was answered, by then."""
    stop, seen = threading.Event(), Counter[str]()

    def ask() -> None:
        with httpx.Client(base_url=live.url, timeout=PATIENCE) as client:
            while not stop.is_set():
                answer = client.post("/v1/stylize/wave", content=file(photo()))
                seen.update([f"{answer.status_code} {answer.headers.get('X-Model', answer.text)}"])

    clients = [threading.Thread(target=ask) for _ in range(CLIENTS)]
    for client in clients:
        client.start()
    try:
        yield seen
    finally:
        stop.set()
        for client in clients:
            client.join()


@pytest.mark.timeout(300 + 10 * ROUNDS)
def test_no_request_fails_while_versions_are_published_and_rolled_back(tmp_path: Path) -> None:
    publish(tmp_path)
    store = ModelStore(tmp_path)
    with serving(tmp_path) as live, load(live) as seen:

        def until(version: int) -> None:
            live.until("/v1/models/wave", lambda answer: answer.json()["version"] == version)

        for round_number in range(1, ROUNDS + 1):
            published = publish(tmp_path, built=network(seed=round_number)).version
            until(published)
            until(store.rollback("wave"))
            assert published == round_number + 1
    assert {answer.partition(" ")[0] for answer in seen} == {"200"}, seen
    assert sum(seen.values()) >= CLIENTS
