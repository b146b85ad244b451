"""A bucket as the store of a running service."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from model_store import CacheSettings, Draft, open_store
from tests.buckets import Bucket, s3_server, stuck
from tests.networks import network
from tests.service.live import Live, serving
from tests.service.live import publish as publish_locally

URL = "s3://bucket/models"


@pytest.fixture(scope="module")
def bucket() -> Iterator[Bucket]:
    with s3_server() as server:
        server.create()
        yield server


def publish(folder: Path, seed: int) -> None:
    store = open_store(URL, CacheSettings(folder / "publisher"))
    store.publish(network("c3s1-4,R4,c3s1-3", seed=seed), Draft(name="wave", task="style"), b"png")


def served(live: Live, label: str) -> None:
    live.until("/readyz", lambda answer: answer.json()["models"] == [label])


def test_style_in_a_bucket_is_served_followed_and_kept_while_the_bucket_is_away(bucket: Bucket, tmp_path: Path) -> None:
    publish(tmp_path, 0)
    with serving(tmp_path, stores=(URL,), store_cache_folder=tmp_path / "cache") as live:
        served(live, "wave@1")
        publish(tmp_path, 1)
        served(live, "wave@2")
        assert live.client.get("/v1/models/wave/preview").content == b"png"
        bucket.remove()
        away = live.until("/readyz", lambda answer: answer.json()["warnings"] != [])
        assert away.status_code == 200
        assert "the store s3://bucket/models is missing; its models stay loaded (" in away.text
        assert live.metric("pastiche_store_available", store=URL) == 0
        bucket.create()
        publish(tmp_path, 2)
        live.until("/readyz", lambda answer: answer.json()["warnings"] == [])
        served(live, "wave@1")
        assert live.metric("pastiche_store_available", store=URL) == 1


def test_service_that_knows_nothing_of_its_bucket_is_not_ready(bucket: Bucket, tmp_path: Path) -> None:
    elsewhere = "s3://elsewhere/models"
    with serving(tmp_path, stores=(elsewhere,), store_cache_folder=tmp_path / "cache") as live:
        answer = live.client.get("/readyz")
        assert answer.status_code == 503
        assert "a model store could not be read yet: there is no index.json in s3://elsewhere/models" in answer.text
        assert live.client.post("/v1/stylize/wave", content=b"x").status_code == 503


def test_service_that_knows_nothing_of_its_bucket_serves_its_folder(bucket: Bucket, tmp_path: Path) -> None:
    publish_locally(tmp_path / "folder", "night")
    stores = (str(tmp_path / "folder"), "s3://elsewhere/models")
    with serving(tmp_path, stores=stores, store_cache_folder=tmp_path / "cache") as live:
        ready = live.until("/readyz", lambda answer: answer.status_code == 200).json()
        assert (ready["models"], ready["problems"]) == (["night@1"], [])
        missing = "the store s3://elsewhere/models could not be read yet; its models are not served (there is no index"
        assert ready["warnings"][0].startswith(missing)
        assert live.metric("pastiche_store_available", store="s3://elsewhere/models") == 0
        assert live.client.post("/v1/stylize/wave", content=b"x").status_code == 503


def test_bucket_that_hangs_holds_up_no_folder(bucket: Bucket, tmp_path: Path) -> None:
    publish_locally(tmp_path / "folder", "night")
    stores, answers = (str(tmp_path / "folder"), "s3://hanging/models"), threading.Event()
    bucket.faults.append(("/hanging/models/index.json", stuck(answers)))
    with serving(tmp_path, stores=stores, store_cache_folder=tmp_path / "cache") as live:
        ready = live.until("/readyz", lambda answer: answer.status_code == 200).json()
        silent = "the store s3://hanging/models has not answered yet; its models are not served"
        assert (ready["models"], ready["warnings"]) == (["night@1"], [silent])
        assert live.metric("pastiche_store_available", store="s3://hanging/models") == 0
        answers.set()
        live.until("/readyz", lambda answer: "could not be read yet" in answer.text)
