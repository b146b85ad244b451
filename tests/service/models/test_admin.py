from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from model_store import ModelStore
from service.errors import StoreUnwritable, UnknownModel, UnknownVersion, VersionRefused
from service.models.admin import ModelAdmin
from service.models.registry import ModelRegistry
from service.models.store_watcher import StoreWatcher
from tests.service.live import publish
from tests.service.models.following import following
from tests.service.models.test_store_watcher import corrupt

Scenario = Callable[[ModelRegistry, ModelAdmin], Coroutine[Any, Any, None]]


def promoting(scenario: Scenario, *roots: Path) -> None:
    """Run a scenario with the models of some stores, which are read when it begins."""

    async def run(models: ModelRegistry, watcher: StoreWatcher) -> None:
        await watcher.refresh()
        await scenario(models, ModelAdmin([ModelStore(root) for root in roots], models, watcher))

    following(run, *roots)


def test_version_is_served_when_the_call_returns(tmp_path: Path) -> None:
    for _ in range(3):
        publish(tmp_path)

    async def scenario(models: ModelRegistry, model_admin: ModelAdmin) -> None:
        before = models.find("wave")
        assert (await model_admin.promote("wave", 1)).label == models.find("wave").label == "wave@1"
        assert before.label == "wave@3"
        assert (await model_admin.promote("wave", 2)).label == "wave@2"
        assert (await model_admin.rollback("wave")).label == "wave@1"
        assert ModelStore(tmp_path).current("wave") == 1

    promoting(scenario, tmp_path)


def test_store_that_hides_the_others_is_changed(tmp_path: Path) -> None:
    for root in (tmp_path / "shipped", tmp_path / "own"):
        publish(root)
        publish(root)

    async def scenario(models: ModelRegistry, model_admin: ModelAdmin) -> None:
        await model_admin.promote("wave", 1)
        assert models.find("wave").source.root == tmp_path / "own"
        assert [ModelStore(tmp_path / name).current("wave") for name in ("shipped", "own")] == [2, 1]

    promoting(scenario, tmp_path / "shipped", tmp_path / "own")


def test_what_does_not_exist_is_said(tmp_path: Path) -> None:
    publish(tmp_path)

    async def scenario(models: ModelRegistry, model_admin: ModelAdmin) -> None:
        for name in ("night", "../wave", ""):
            with pytest.raises(UnknownModel, match="there are: wave"):
                await model_admin.promote(name, 1)
        with pytest.raises(UnknownVersion, match=r"there are: \[1\]") as refused:
            await model_admin.promote("wave", 7)
        assert refused.value.members["available"] == [1]
        with pytest.raises(UnknownVersion, match="oldest version"):
            await model_admin.rollback("wave")
        assert models.find("wave").label == "wave@1"

    promoting(scenario, tmp_path)


def test_version_that_cannot_be_served_is_not_promoted(tmp_path: Path) -> None:
    publish(tmp_path)
    publish(tmp_path)
    corrupt(tmp_path, "wave", 1)

    async def scenario(models: ModelRegistry, model_admin: ModelAdmin) -> None:
        for _ in range(2):
            with pytest.raises(VersionRefused, match=r"wave@1 cannot be served: wave@1: weights\.safetensors"):
                await model_admin.promote("wave", 1)
            assert models.find("wave").label == "wave@2"
            assert models.failures.find("wave") is None
            assert ModelStore(tmp_path).current("wave") == 2

    promoting(scenario, tmp_path)


def test_damaged_pointer_is_mended_by_a_promotion(tmp_path: Path) -> None:
    publish(tmp_path)
    (tmp_path / "wave" / "current").write_text("what")

    async def scenario(models: ModelRegistry, model_admin: ModelAdmin) -> None:
        with pytest.raises(VersionRefused, match="'what'"):
            await model_admin.rollback("wave")
        assert (await model_admin.promote("wave", 1)).label == models.find("wave").label == "wave@1"

    promoting(scenario, tmp_path)


def test_refusal_says_where_there_is_nothing_to_go_back_to(tmp_path: Path) -> None:
    publish(tmp_path)
    publish(tmp_path)
    corrupt(tmp_path, "wave", 1)
    (tmp_path / "wave" / "current").write_text("what")

    async def scenario(models: ModelRegistry, model_admin: ModelAdmin) -> None:
        with pytest.raises(VersionRefused, match="the store names it all the same"):
            await model_admin.promote("wave", 1)
        assert ModelStore(tmp_path).current("wave") == 1
        assert (await model_admin.promote("wave", 2)).label == models.find("wave").label == "wave@2"

    promoting(scenario, tmp_path)


def test_store_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    publish(tmp_path)
    publish(tmp_path)
    (tmp_path / "wave" / "current").unlink()
    (tmp_path / "wave" / "current").mkdir()  # a file cannot replace a folder, not even for root
    (tmp_path / "wave" / "current" / "file").touch()

    async def scenario(_models: ModelRegistry, model_admin: ModelAdmin) -> None:
        with pytest.raises(StoreUnwritable, match="the store of wave cannot be written"):
            await model_admin.promote("wave", 1)

    promoting(scenario, tmp_path)


def test_store_that_cannot_be_read_is_said(tmp_path: Path) -> None:
    (tmp_path / "wave").symlink_to("x" * 300)  # even to look is an error

    async def scenario(_models: ModelRegistry, model_admin: ModelAdmin) -> None:
        with pytest.raises(StoreUnwritable, match="wave: its folder cannot be read: File name too long"):
            await model_admin.promote("wave", 1)

    promoting(scenario, tmp_path)


def test_reload_tries_again_what_has_failed(tmp_path: Path) -> None:
    publish(tmp_path)
    corrupt(tmp_path, "wave", 1)

    async def scenario(models: ModelRegistry, model_admin: ModelAdmin) -> None:
        assert models.failures.find("wave") is not None
        corrupt(tmp_path, "wave", 1)  # turns the bit back
        await model_admin.reload()
        assert models.find("wave").label == "wave@1"

    promoting(scenario, tmp_path)
