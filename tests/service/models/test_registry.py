from pathlib import Path

import pytest

from service.errors import ModelUnavailable, UnknownModel
from service.models.registry import ModelRegistry
from service.models.store_watcher import StoreWatcher
from tests.networks import network
from tests.service.live import publish, publish_restorer, publish_upscaler
from tests.service.models.following import following


def test_stores_that_do_not_exist_serve_nothing(tmp_path: Path) -> None:
    async def scenario(models: ModelRegistry, watcher: StoreWatcher) -> None:
        troubles = [models.trouble]
        await watcher.refresh()
        assert [*troubles, models.trouble] == ["the models are being loaded", None]
        assert models.all() == []
        assert models.failures.all() == []
        with pytest.raises(UnknownModel, match="there are: none"):
            models.style("wave")

    following(scenario, tmp_path / "absent")


def test_what_is_missing_before_the_stores_were_read_may_only_be_late(tmp_path: Path) -> None:
    async def scenario(models: ModelRegistry, watcher: StoreWatcher) -> None:
        with pytest.raises(ModelUnavailable, match="being loaded"):
            models.style("wave")
        with pytest.raises(ModelUnavailable, match="being loaded"):
            models.upscalers(4)

    following(scenario, tmp_path)


def test_model_info_names_only_what_is_served(tmp_path: Path) -> None:
    async def scenario(models: ModelRegistry, watcher: StoreWatcher) -> None:
        publish(tmp_path)
        await watcher.refresh()
        publish(tmp_path)
        await watcher.refresh()

    metrics = following(scenario, tmp_path)
    samples = [s for family in metrics.registry.collect() for s in family.samples if s.name == "pastiche_model_info"]
    assert [(s.labels["model"], s.labels["version"], s.labels["scale"]) for s in samples] == [("wave", "2", "1")]


def test_style_and_upscaler_are_different_tasks(tmp_path: Path) -> None:
    async def scenario(models: ModelRegistry, watcher: StoreWatcher) -> None:
        publish(tmp_path)
        publish_upscaler(tmp_path)
        await watcher.refresh()
        with pytest.raises(UnknownModel, match="no style is named 'x4'; there are: wave"):
            models.style("x4")
        with pytest.raises(UnknownModel, match="there are: x4"):
            models.upscalers(4, "wave")
        with pytest.raises(
            UnknownModel, match=r"no model enlarges ×17, nor do several in turn; the largest scale is 16$"
        ) as failure:
            models.upscalers(17)
        assert failure.value.members == {"available": [4, 16]}

    following(scenario, tmp_path)


def test_upscaler_is_the_named_one_else_the_canonical_else_the_newest(tmp_path: Path) -> None:
    async def scenario(models: ModelRegistry, watcher: StoreWatcher) -> None:
        for name in ("faces", "anime"):
            publish_upscaler(tmp_path, name)
        await watcher.refresh()
        assert models.upscalers(4)[0].name == "anime"
        assert models.upscalers(4, "faces")[0].name == "faces"
        publish_upscaler(tmp_path, "x4")
        publish_upscaler(tmp_path, "newest")
        await watcher.refresh()
        assert models.upscalers(4)[0].name == "x4"

    following(scenario, tmp_path)


def test_network_for_damaged_photographs_is_found_by_its_training(tmp_path: Path) -> None:
    async def scenario(models: ModelRegistry, watcher: StoreWatcher) -> None:
        publish_upscaler(tmp_path, "faces")
        publish_restorer(tmp_path, "old-scans")
        await watcher.refresh()
        assert models.upscalers(4)[0].name == "faces"  # though the other one is newer
        assert models.upscalers(4, "old-scans")[0].restores
        assert not models.find("faces").restores
        assert [found and found.name for found in (models.restorer(4), models.restorer(2))] == ["old-scans", None]
        publish_restorer(tmp_path, "x4-photo")
        publish_restorer(tmp_path, "newest")
        await watcher.refresh()
        found = models.restorer(4)
        assert found is not None
        assert found.name == "x4-photo"

    following(scenario, tmp_path)


def test_upscalers_are_chained_where_no_single_one_fits(tmp_path: Path) -> None:
    async def scenario(models: ModelRegistry, watcher: StoreWatcher) -> None:
        publish_upscaler(tmp_path)
        publish(tmp_path, "x2", network("c3s1-4,c3s1-12,p2", norm="none"))
        publish(tmp_path, "painterly", network("c3s1-4,c3s1-12,p2", norm="none", seed=1))
        await watcher.refresh()

        def names(scale: float, first: str | None = None) -> list[str]:
            return [model.name for model in models.upscalers(scale, first)]

        assert names(2) == ["x2"]
        assert names(8) == ["x4", "x2"]
        assert names(16) == ["x4", "x4"]
        assert names(4, "painterly") == ["painterly", "x2"]
        assert names(8, "x2,painterly") == ["x2", "painterly", "x2"]
        with pytest.raises(UnknownModel, match=r"no model enlarges ×16\.01.*largest scale is 16"):
            names(16.01)
        with pytest.raises(UnknownModel, match="enlarges ×2, or by a divisor of that, is named 'x4'"):
            names(4, "x2,x4")

    following(scenario, tmp_path)


def test_paintings_are_enlarged_by_the_upscalers_of_two_and_four_that_can_be_tiled(tmp_path: Path) -> None:
    async def scenario(models: ModelRegistry, watcher: StoreWatcher) -> None:
        publish_upscaler(tmp_path, "faces")
        publish(tmp_path, "whole", network("c3s1-4,c3s1-12,p2", norm="instance"))
        publish(tmp_path, "x8", network("c3s1-4,c3s1-192,p8", norm="none"))
        await watcher.refresh()
        assert [model.name for model in models.enlargers()] == ["faces"]
        publish_upscaler(tmp_path)
        publish(tmp_path, "x2", network("c3s1-4,c3s1-12,p2", norm="none"))
        await watcher.refresh()
        assert [model.name for model in models.enlargers()] == ["x2", "x4"]

    following(scenario, tmp_path)


def test_scale_that_no_chain_has_is_made_by_the_next_larger_one(tmp_path: Path) -> None:
    async def scenario(models: ModelRegistry, watcher: StoreWatcher) -> None:
        publish_upscaler(tmp_path)
        publish(tmp_path, "x2", network("c3s1-4,c3s1-12,p2", norm="none"))
        await watcher.refresh()

        def names(scale: float, first: str | None = None) -> list[str]:
            return [model.name for model in models.upscalers(scale, first)]

        assert names(1.01) == names(1.99) == ["x2"]
        assert names(2.01) == names(2.5) == names(3) == ["x4"]
        assert names(5) == ["x4", "x2"]
        assert names(15.99) == ["x4", "x4"]
        assert names(1.5, "x4") == ["x4"]
        assert names(3, "x2") == ["x2", "x2"]
        assert names(5, "x2") == ["x2", "x4"]
        with pytest.raises(UnknownModel, match="that enlarges ×4, or by a divisor of that, is named 'wave'"):
            names(3, "wave")
        with pytest.raises(UnknownModel, match="is named 'x4'"):  # ×64
            names(3, "x4,x4,x4")

    following(scenario, tmp_path)


def test_no_scale_is_there_without_networks_that_enlarge(tmp_path: Path) -> None:
    async def scenario(models: ModelRegistry, watcher: StoreWatcher) -> None:
        publish(tmp_path)
        await watcher.refresh()
        with pytest.raises(UnknownModel, match="no model enlarges ×2, nor do several in turn; there is none"):
            models.upscalers(2)

    following(scenario, tmp_path)
