import asyncio
import hashlib
import json
import re
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load, save

from model_store import ModelStore, StoreAway
from service.engine.cpu import CpuBackend
from service.engine.tiling import TiledImage
from service.errors import DeviceLost, ModelUnavailable, UnknownModel
from service.models.registry import ModelRegistry
from service.models.store_watcher import StoreWatcher
from tests.networks import network
from tests.service.imaging.images import photo
from tests.service.live import PATIENCE, painted, publish, same
from tests.service.models.following import following


def corrupt(root: Path, name: str, version: int, file: str = "weights.safetensors") -> None:
    path = root / name / str(version) / file
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def promise_another_output(root: Path, name: str, version: int) -> None:
    """Exchange the golden output of a version, as consistently as a publisher with another idea of it would."""
    folder = root / name / str(version)
    golden = load(folder.joinpath("golden.safetensors").read_bytes())
    promised = save({"input": golden["input"], "output": 1 - golden["output"]})
    (folder / "golden.safetensors").write_bytes(promised)
    manifest = json.loads((folder / "manifest.json").read_bytes())
    manifest["golden_digest"] = f"sha256:{hashlib.sha256(promised).hexdigest()}"
    (folder / "manifest.json").write_text(json.dumps(manifest))


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not condition():  # noqa: ASYNC110 # nothing announces it
            await asyncio.sleep(0.001)


async def refresh_all_but(silent: ModelStore, watcher: StoreWatcher) -> None:
    """Read the stores until all have answered but this one: on a busy machine a folder may be slow, too."""
    await watcher.refresh()
    while any(silent.location not in warning for warning in watcher.warnings()):
        await watcher.refresh()


def test_new_version_replaces_the_old_one_but_not_for_who_holds_it(tmp_path: Path) -> None:
    async def scenario(models: ModelRegistry, watcher: StoreWatcher) -> None:
        publish(tmp_path, built=network(seed=1))
        await watcher.refresh()
        held = models.style("wave")
        publish(tmp_path, built=network(seed=2))
        await watcher.refresh()
        assert (held.label, models.style("wave").label) == ("wave@1", "wave@2")
        image = TiledImage(photo(), held.tiling)
        (output,) = CpuBackend(1, 1).run(held.network.network, [image.cut(image.tiles[0])], None)
        assert output is not None
        image.paste(image.tiles[0], output)
        assert same(image.result, painted(tmp_path, photo(), version=1))

    metrics = following(scenario, tmp_path)
    value = metrics.registry.get_sample_value
    assert value("pastiche_model_loads_total", {"model": "wave", "result": "ok"}) == 2
    assert value("pastiche_model_load_duration_seconds_count", {"model": "wave"}) == 2


def test_version_that_is_served_is_not_loaded_again(tmp_path: Path) -> None:
    async def scenario(models: ModelRegistry, watcher: StoreWatcher) -> None:
        publish(tmp_path)
        await watcher.refresh()
        first = models.style("wave")
        await watcher.refresh()
        assert models.style("wave") is first

    following(scenario, tmp_path)


def test_rollback_is_followed(tmp_path: Path) -> None:
    async def scenario(models: ModelRegistry, watcher: StoreWatcher) -> None:
        publish(tmp_path)
        publish(tmp_path)
        await watcher.refresh()
        assert models.style("wave").label == "wave@2"
        ModelStore(tmp_path).rollback("wave")
        await watcher.refresh()
        assert models.style("wave").label == "wave@1"

    following(scenario, tmp_path)


def test_removed_model_disappears(tmp_path: Path) -> None:
    async def scenario(models: ModelRegistry, watcher: StoreWatcher) -> None:
        publish(tmp_path)
        publish(tmp_path, "night")
        await watcher.refresh()
        shutil.rmtree(tmp_path / "wave")
        await watcher.refresh()
        assert [model.name for model in models.all()] == ["night"]
        with pytest.raises(UnknownModel, match="there are: night") as failure:
            models.find("wave")
        assert failure.value.members == {"available": ["night"]}

    following(scenario, tmp_path)


@pytest.mark.parametrize("file", ["weights.safetensors", "golden.safetensors", "manifest.json"])
def test_corrupt_version_is_refused_and_the_old_one_goes_on(tmp_path: Path, file: str) -> None:
    async def scenario(models: ModelRegistry, watcher: StoreWatcher) -> None:
        publish(tmp_path)
        await watcher.refresh()
        publish(tmp_path)
        corrupt(tmp_path, "wave", 2, file)
        await watcher.refresh()
        assert models.style("wave").label == "wave@1"
        failure = models.failures.find("wave")
        assert failure is not None
        assert failure.version.label == "wave@2"
        assert "wave@2" in failure.reason
        assert str(tmp_path) not in failure.reason

    metrics = following(scenario, tmp_path)
    labels = {"model": "wave", "result": "failed"}
    assert metrics.registry.get_sample_value("pastiche_model_loads_total", labels) == 1


def test_version_that_is_a_link_out_of_the_store_is_not_served(tmp_path: Path) -> None:
    root = tmp_path / "store"

    async def scenario(models: ModelRegistry, watcher: StoreWatcher) -> None:
        publish(root)
        await watcher.refresh()
        publish(root)
        (root / "wave" / "2").rename(tmp_path / "elsewhere")
        (root / "wave" / "2").symlink_to(tmp_path / "elsewhere")
        await watcher.refresh()
        assert models.style("wave").label == "wave@1"
        failure = models.failures.find("wave")
        assert failure is not None
        assert failure.reason.startswith("wave@2: '2' leads out of the store by a symbolic link")
        (root / "wave").rename(tmp_path / "moved")
        (root / "wave").symlink_to(tmp_path / "moved")
        await watcher.refresh()
        failure = models.failures.find("wave")
        assert failure is not None
        assert failure.reason.startswith("wave: 'wave' leads out of the store")
        assert models.style("wave").label == "wave@1"

    following(scenario, root)


def test_weights_of_a_version_that_vanishes_while_it_is_loaded_are_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def preview(store: ModelStore, name: str, version: int | None = None) -> Path | None:
        shutil.rmtree(store.root / name)
        return look(store, name, version)

    publish(tmp_path)
    look = ModelStore.preview
    monkeypatch.setattr(ModelStore, "preview", preview)

    async def scenario(models: ModelRegistry, watcher: StoreWatcher) -> None:
        await watcher.refresh()
        assert models.failures.find("wave") is not None

    metrics = following(scenario, tmp_path)
    assert metrics.registry.get_sample_value("pastiche_resident_bytes", {"place": "device"}) == 0


def test_model_without_a_sound_version_is_unavailable(tmp_path: Path) -> None:
    async def scenario(models: ModelRegistry, watcher: StoreWatcher) -> None:
        publish(tmp_path)
        corrupt(tmp_path, "wave", 1)
        await watcher.refresh()
        with pytest.raises(ModelUnavailable, match="wave could not be loaded: wave@1"):
            models.style("wave")

    following(scenario, tmp_path)


def test_network_that_does_not_reproduce_its_golden_output_is_refused(tmp_path: Path) -> None:
    async def scenario(models: ModelRegistry, watcher: StoreWatcher) -> None:
        publish(tmp_path)
        await watcher.refresh()
        publish(tmp_path)
        promise_another_output(tmp_path, "wave", 2)
        await watcher.refresh()
        assert models.style("wave").label == "wave@1"
        failure = models.failures.find("wave")
        assert failure is not None
        assert "largest difference" in failure.reason

    following(scenario, tmp_path)


def test_unreadable_pointer_leaves_the_old_version(tmp_path: Path) -> None:
    async def scenario(models: ModelRegistry, watcher: StoreWatcher) -> None:
        publish(tmp_path)
        await watcher.refresh()
        (tmp_path / "wave" / "current").write_text("newest")
        await watcher.refresh()
        assert models.style("wave").label == "wave@1"
        failure = models.failures.find("wave")
        assert failure is not None
        assert "newest" in failure.reason
        (tmp_path / "wave" / "current").write_text("1")
        await watcher.refresh()
        assert models.failures.find("wave") is None

    following(scenario, tmp_path)


def test_failure_is_forgotten_when_a_sound_version_is_promoted(tmp_path: Path) -> None:
    async def scenario(models: ModelRegistry, watcher: StoreWatcher) -> None:
        publish(tmp_path)
        publish(tmp_path)
        corrupt(tmp_path, "wave", 2)
        await watcher.refresh()
        assert models.failures.find("wave") is not None
        ModelStore(tmp_path).promote("wave", 1)
        await watcher.refresh()
        assert models.failures.find("wave") is None
        assert models.style("wave").label == "wave@1"

    following(scenario, tmp_path)


def test_version_that_fails_is_tried_again_less_and_less_often(tmp_path: Path) -> None:
    async def scenario(models: ModelRegistry, watcher: StoreWatcher) -> None:
        publish(tmp_path)
        corrupt(tmp_path, "wave", 1)
        await watcher.refresh()
        first = models.failures.find("wave")
        await watcher.refresh()
        assert first is not None
        assert models.failures.find("wave") is first  # not before its time

    following(scenario, tmp_path, poll_seconds=1000.0)


def test_version_that_is_repaired_is_served(tmp_path: Path) -> None:
    async def scenario(models: ModelRegistry, watcher: StoreWatcher) -> None:
        publish(tmp_path)
        corrupt(tmp_path, "wave", 1)
        await watcher.refresh()
        corrupt(tmp_path, "wave", 1)  # the same bit again
        while models.failures.find("wave") is not None:
            await watcher.refresh()
        assert models.style("wave").label == "wave@1"

    following(scenario, tmp_path)


def test_later_store_hides_earlier_ones(tmp_path: Path) -> None:
    async def scenario(models: ModelRegistry, watcher: StoreWatcher) -> None:
        shipped, own = tmp_path / "shipped", tmp_path / "own"
        publish(shipped, built=network(seed=1))
        publish(shipped, "night")
        await watcher.refresh()
        before = models.style("wave").manifest.digest
        publish(own, built=network(seed=2))
        await watcher.refresh()
        assert models.style("wave").manifest.digest != before
        assert [model.name for model in models.all()] == ["night", "wave"]
        shutil.rmtree(own / "wave")
        await watcher.refresh()
        assert models.style("wave").manifest.digest == before

    following(scenario, tmp_path / "shipped", tmp_path / "own")


def test_model_whose_files_make_no_sense_does_not_stop_the_others(tmp_path: Path) -> None:
    async def scenario(models: ModelRegistry, watcher: StoreWatcher) -> None:
        publish(tmp_path, "night")
        publish(tmp_path, "wave")
        (tmp_path / "night" / "current").write_bytes(b"\xff\xff")
        (tmp_path / "a file").touch()
        (tmp_path / "an empty folder").mkdir()
        await watcher.refresh()
        assert [model.name for model in models.all()] == ["wave"]
        assert [failure.version.label for failure in models.failures.all()] == ["night@?"]

    following(scenario, tmp_path)


def test_version_that_becomes_unreadable_goes_on_and_does_not_stop_the_others(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario(models: ModelRegistry, watcher: StoreWatcher) -> None:
        publish(tmp_path, "night")
        await watcher.refresh()
        held = models.style("night")
        (tmp_path / "night").rename(tmp_path / ".night")
        (tmp_path / "night").symlink_to("x" * 300)  # even to look is an error
        publish(tmp_path, "wave")
        await watcher.refresh()
        assert models.style("night") is held
        assert models.style("wave").label == "wave@1"
        assert [failure.version.label for failure in models.failures.all()] == ["night@?"]

    following(scenario, tmp_path)
    assert f"cannot serve night@? from {tmp_path}: " in caplog.text
    assert "Traceback" not in caplog.text


def test_store_that_cannot_be_read_holds_up_no_models_of_others(tmp_path: Path) -> None:
    closed, other = tmp_path / "closed", tmp_path / "other"

    async def scenario(models: ModelRegistry, watcher: StoreWatcher) -> None:
        closed.symlink_to("x" * 300)
        publish(other)
        await watcher.refresh()
        assert models.style("wave").label == "wave@1"
        told = f"the store {closed} could not be read yet; its models are not served (File name too long)"
        assert watcher.warnings() == [told]
        closed.unlink()
        publish(closed, "night")
        await watcher.refresh()
        assert (models.style("night").label, watcher.warnings()) == ("night@1", [])

    metrics = following(scenario, closed, other)
    assert metrics.registry.get_sample_value("pastiche_store_available", {"store": str(closed)}) == 1


def test_stores_that_cannot_be_read_do_not_end_the_following(tmp_path: Path) -> None:
    async def scenario(models: ModelRegistry, watcher: StoreWatcher) -> None:
        root = tmp_path / "store"
        root.symlink_to("x" * 300)  # no file system has such a name: even to look is an error
        following = asyncio.create_task(watcher.watch())
        await until(lambda: models.trouble != "the models are being loaded")
        assert models.trouble == "a model store could not be read yet: File name too long"
        root.unlink()
        publish(root)
        await until(lambda: models.trouble is None and bool(models.all()))
        assert models.style("wave").label == "wave@1"
        following.cancel()

    following(scenario, tmp_path / "store")


class LostBackend(CpuBackend):
    """The backend of a device that has failed."""

    @contextmanager
    def lane(self, exclusive: bool) -> Iterator[None]:
        if exclusive in (True, False):
            raise torch.AcceleratorError("unspecified launch failure")
        yield


def test_device_that_is_lost_while_a_model_is_loaded_ends_it(tmp_path: Path) -> None:
    publish(tmp_path)

    async def scenario(models: ModelRegistry, watcher: StoreWatcher) -> None:
        with pytest.raises(DeviceLost):
            await watcher.watch()

    following(scenario, tmp_path, backend=LostBackend(1, 1))


def test_store_that_vanishes_keeps_its_models_loaded(tmp_path: Path) -> None:
    root = tmp_path / "store"

    async def scenario(models: ModelRegistry, watcher: StoreWatcher) -> None:
        publish(root)
        await watcher.refresh()
        held = models.style("wave")
        assert watcher.warnings() == []
        root.rename(tmp_path / "away")
        for _ in range(2):
            await watcher.refresh()
        assert models.style("wave") is held
        assert watcher.warnings() == [f"the store {root} is missing; its models stay loaded"]
        (tmp_path / "away").rename(root)
        await watcher.refresh()
        assert models.style("wave") is held
        assert watcher.warnings() == []

    metrics = following(scenario, root)
    assert metrics.registry.get_sample_value("pastiche_store_available", {"store": str(root)}) == 1


class HangingStore(ModelStore):
    """A store that does not answer until it is away, or there."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.answers = threading.Event()
        self.away = True

    def refresh(self) -> None:
        self.answers.wait()
        if self.away:
            raise StoreAway("no route to it")

    def names(self) -> list[str]:
        if self.away:
            raise StoreAway("no route to it")
        return super().names()


def test_store_that_does_not_answer_holds_up_no_models_of_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("service.models.store_watcher.SLOW_SECONDS", 0.01)
    publish(tmp_path / "folder")
    publish(tmp_path / "bucket", "night")
    bucket = HangingStore(tmp_path / "bucket")

    async def scenario(models: ModelRegistry, watcher: StoreWatcher) -> None:
        watching = asyncio.create_task(watcher.watch())
        await until(lambda: bool(models.all()))
        assert models.style("wave").label == "wave@1"
        await until(models.known.is_set)
        silent = f"the store {bucket.location} has not answered yet; its models are not served"
        assert (models.problem, watcher.warnings()) == (None, [silent])
        with pytest.raises(ModelUnavailable, match="has not answered yet"):
            models.style("night")
        bucket.answers.set()
        await until(lambda: silent not in watcher.warnings())
        await until(lambda: models.trouble == "a model store could not be read yet: no route to it")
        unread = f"the store {bucket.location} could not be read yet; its models are not served (no route to it)"
        assert (models.problem, watcher.warnings()) == (None, [unread])
        with pytest.raises(ModelUnavailable, match="could not be read yet: no route to it"):
            models.style("night")
        bucket.away = False
        await watcher.refresh(retry=True)
        assert (models.style("night").label, models.trouble, watcher.warnings()) == ("night@1", None, [])
        watching.cancel()

    following(scenario, ModelStore(tmp_path / "folder"), bucket)
    told = [line.getMessage() for line in caplog.records if bucket.location in line.getMessage()]
    assert [line.partition(bucket.location)[2].partition(";")[0] for line in told] == [
        " has not answered yet",
        " could not be read yet",
        " is there again",
    ]


@pytest.mark.parametrize("models_of_others", [False, True])
def test_store_that_hangs_is_waited_for_only_where_no_other_has_models(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, models_of_others: bool
) -> None:
    monkeypatch.setattr("service.models.store_watcher.SLOW_SECONDS", 0.01)
    (tmp_path / "folder").mkdir()
    if models_of_others:
        publish(tmp_path / "folder")
    publish(tmp_path / "bucket", "night")
    bucket = HangingStore(tmp_path / "bucket")

    async def scenario(models: ModelRegistry, watcher: StoreWatcher) -> None:
        await refresh_all_but(bucket, watcher)
        silent = f"the model store {bucket.location} has not answered yet"
        assert (models.known.is_set(), models.problem) == (models_of_others, None if models_of_others else silent)
        bucket.away = False
        bucket.answers.set()
        await watcher.refresh(retry=True)
        assert (models.known.is_set(), models.problem, models.style("night").label) == (True, None, "night@1")

    following(scenario, ModelStore(tmp_path / "folder"), bucket)


def test_store_that_answers_while_models_of_others_are_loaded_is_read_before_it_is_ready(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.models.store_watcher.SLOW_SECONDS", 0.01)
    publish(tmp_path / "folder")
    publish(tmp_path / "bucket", "night")
    folder, bucket = ModelStore(tmp_path / "folder"), HangingStore(tmp_path / "bucket")
    bucket.away = False

    async def scenario(models: ModelRegistry, watcher: StoreWatcher) -> None:
        load = folder.load

        def load_slowly(*version: Any) -> Any:
            bucket.answers.set()
            while watcher.warnings():
                time.sleep(0.001)
            return load(*version)

        monkeypatch.setattr(folder, "load", load_slowly)
        while not models.all():  # on a busy machine the folder may be slow at first, too
            await watcher.refresh()
        assert (models.style("wave").label, models.known.is_set()) == ("wave@1", False)
        await watcher.refresh()
        assert (models.style("night").label, models.problem) == ("night@1", None)

    following(scenario, folder, bucket)


def test_log_says_which_model_of_how_many_is_loaded(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "service.models.store_watcher")
    for name in ("udnie", "wave"):
        publish(tmp_path, name)
    corrupt(tmp_path, "wave", 1)

    async def scenario(models: ModelRegistry, watcher: StoreWatcher) -> None:
        await watcher.refresh()
        await watcher.refresh()

    following(scenario, tmp_path, poll_seconds=60)
    said = [record.getMessage() for record in caplog.records]
    assert [line for line in said if line.startswith("loading")] == [
        "loading udnie@1, 1 of 2",
        "loading wave@1, 2 of 2",
    ]
    assert re.fullmatch(r"1 of 2 models were loaded in \d+\.\d s", said[-1])
