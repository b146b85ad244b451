from pathlib import Path

from service.models.registry import ModelRegistry
from service.models.store_watcher import StoreWatcher
from tests.networks import network
from tests.service.live import publish
from tests.service.models.following import following


def test_served_model_knows_how_it_is_cut_and_what_it_costs(tmp_path: Path) -> None:
    async def scenario(models: ModelRegistry, watcher: StoreWatcher) -> None:
        publish(tmp_path)
        publish(tmp_path, "night", network(norm="instance"))
        await watcher.refresh()
        wave, night = models.style("wave"), models.style("night")
        assert len(wave.tiling.plan(1000, 1000)) > 1
        assert len(night.tiling.plan(1000, 1000)) == 1
        assert 0 < wave.cost_model.seconds(10_000) < wave.cost_model.seconds(10_000_000)

    following(scenario, tmp_path)


def test_model_in_fp32_is_another_one_of_the_same_version(tmp_path: Path) -> None:
    async def scenario(models: ModelRegistry, watcher: StoreWatcher) -> None:
        publish(tmp_path)
        await watcher.refresh()
        wave = models.style("wave")
        assert wave.fp32 is wave.fp32
        assert wave.fp32 != wave
        assert (wave.fp32.label, wave.fp32.network) == (wave.label, wave.loaded.fp32)

    following(scenario, tmp_path)
