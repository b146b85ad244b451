import asyncio
import hashlib
import json
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from safetensors.torch import load, save

from model_store import ModelStore
from service.engine.cpu import CpuBackend
from service.engine.tiling import TiledImage
from service.errors import DeviceLost, ModelUnavailable, UnknownModel
from service.models.registry import ModelRegistry
from tests.networks import network
from tests.service.imaging.images import photo
from tests.service.live import painted, publish, publish_restorer, publish_upscaler, same
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
    for _ in range(10_000):
        if condition():
            return
        await asyncio.sleep(0.001)
    raise AssertionError("it did not happen")


def test_stores_that_do_not_exist_serve_nothing(tmp_path: Path) -> None:
    async def scenario(models: ModelRegistry) -> None:
        troubles = [models.trouble]
        await models.refresh()
        assert [*troubles, models.trouble] == ["the models are being loaded", None]
        assert models.all() == []
        assert models.failures() == []
        with pytest.raises(UnknownModel, match="there are: none"):
            models.style("wave")

    following(scenario, tmp_path / "absent")


def test_what_is_missing_before_the_stores_were_read_may_only_be_late(tmp_path: Path) -> None:
    async def scenario(models: ModelRegistry) -> None:
        with pytest.raises(ModelUnavailable, match="being loaded"):
            models.style("wave")
        with pytest.raises(ModelUnavailable, match="being loaded"):
            models.upscalers(4)

    following(scenario, tmp_path)


def test_new_version_replaces_the_old_one_but_not_for_who_holds_it(tmp_path: Path) -> None:
    async def scenario(models: ModelRegistry) -> None:
        publish(tmp_path, built=network(seed=1))
        await models.refresh()
        held = models.style("wave")
        publish(tmp_path, built=network(seed=2))
        await models.refresh()
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
    async def scenario(models: ModelRegistry) -> None:
        publish(tmp_path)
        await models.refresh()
        first = models.style("wave")
        await models.refresh()
        assert models.style("wave") is first

    following(scenario, tmp_path)


def test_model_info_names_only_what_is_served(tmp_path: Path) -> None:
    async def scenario(models: ModelRegistry) -> None:
        publish(tmp_path)
        await models.refresh()
        publish(tmp_path)
        await models.refresh()

    metrics = following(scenario, tmp_path)
    samples = [s for family in metrics.registry.collect() for s in family.samples if s.name == "pastiche_model_info"]
    assert [(s.labels["model"], s.labels["version"], s.labels["scale"]) for s in samples] == [("wave", "2", "1")]


def test_rollback_is_followed(tmp_path: Path) -> None:
    async def scenario(models: ModelRegistry) -> None:
        publish(tmp_path)
        publish(tmp_path)
        await models.refresh()
        assert models.style("wave").label == "wave@2"
        ModelStore(tmp_path).rollback("wave")
        await models.refresh()
        assert models.style("wave").label == "wave@1"

    following(scenario, tmp_path)


def test_removed_model_disappears(tmp_path: Path) -> None:
    async def scenario(models: ModelRegistry) -> None:
        publish(tmp_path)
        publish(tmp_path, "night")
        await models.refresh()
        shutil.rmtree(tmp_path / "wave")
        await models.refresh()
        assert [model.name for model in models.all()] == ["night"]
        with pytest.raises(UnknownModel, match="there are: night") as failure:
            models.find("wave")
        assert failure.value.members == {"available": ["night"]}

    following(scenario, tmp_path)


@pytest.mark.parametrize("file", ["weights.safetensors", "golden.safetensors", "manifest.json"])
def test_corrupt_version_is_refused_and_the_old_one_goes_on(tmp_path: Path, file: str) -> None:
    async def scenario(models: ModelRegistry) -> None:
        publish(tmp_path)
        await models.refresh()
        publish(tmp_path)
        corrupt(tmp_path, "wave", 2, file)
        await models.refresh()
        assert models.style("wave").label == "wave@1"
        failure = models.failure("wave")
        assert failure is not None
        assert failure.version.label == "wave@2"
        assert "wave@2" in failure.reason
        assert str(tmp_path) not in failure.reason

    metrics = following(scenario, tmp_path)
    labels = {"model": "wave", "result": "failed"}
    assert metrics.registry.get_sample_value("pastiche_model_loads_total", labels) == 1


def test_version_that_is_a_link_out_of_the_store_is_not_served(tmp_path: Path) -> None:
    root = tmp_path / "store"

    async def scenario(models: ModelRegistry) -> None:
        publish(root)
        await models.refresh()
        publish(root)
        (root / "wave" / "2").rename(tmp_path / "elsewhere")
        (root / "wave" / "2").symlink_to(tmp_path / "elsewhere")
        await models.refresh()
        assert models.style("wave").label == "wave@1"
        failure = models.failure("wave")
        assert failure is not None
        assert failure.reason.startswith("wave@2: '2' leads out of the store by a symbolic link")
        (root / "wave").rename(tmp_path / "moved")
        (root / "wave").symlink_to(tmp_path / "moved")
        await models.refresh()
        failure = models.failure("wave")
        assert failure is not None
        assert failure.reason.startswith("wave: 'wave' leads out of the store")
        assert models.style("wave").label == "wave@1"

    following(scenario, root)


def test_model_without_a_sound_version_is_unavailable(tmp_path: Path) -> None:
    async def scenario(models: ModelRegistry) -> None:
        publish(tmp_path)
        corrupt(tmp_path, "wave", 1)
        await models.refresh()
        with pytest.raises(ModelUnavailable, match="wave could not be loaded: wave@1"):
            models.style("wave")

    following(scenario, tmp_path)


def test_network_that_does_not_reproduce_its_golden_output_is_refused(tmp_path: Path) -> None:
    async def scenario(models: ModelRegistry) -> None:
        publish(tmp_path)
        await models.refresh()
        publish(tmp_path)
        promise_another_output(tmp_path, "wave", 2)
        await models.refresh()
        assert models.style("wave").label == "wave@1"
        failure = models.failure("wave")
        assert failure is not None
        assert "largest difference" in failure.reason

    following(scenario, tmp_path)


def test_unreadable_pointer_leaves_the_old_version(tmp_path: Path) -> None:
    async def scenario(models: ModelRegistry) -> None:
        publish(tmp_path)
        await models.refresh()
        (tmp_path / "wave" / "current").write_text("newest")
        await models.refresh()
        assert models.style("wave").label == "wave@1"
        failure = models.failure("wave")
        assert failure is not None
        assert "newest" in failure.reason
        (tmp_path / "wave" / "current").write_text("1")
        await models.refresh()
        assert models.failure("wave") is None

    following(scenario, tmp_path)


def test_failure_is_forgotten_when_a_sound_version_is_promoted(tmp_path: Path) -> None:
    async def scenario(models: ModelRegistry) -> None:
        publish(tmp_path)
        publish(tmp_path)
        corrupt(tmp_path, "wave", 2)
        await models.refresh()
        assert models.failure("wave") is not None
        ModelStore(tmp_path).promote("wave", 1)
        await models.refresh()
        assert models.failure("wave") is None
        assert models.style("wave").label == "wave@1"

    following(scenario, tmp_path)


def test_version_that_fails_is_tried_again_less_and_less_often(tmp_path: Path) -> None:
    async def scenario(models: ModelRegistry) -> None:
        publish(tmp_path)
        corrupt(tmp_path, "wave", 1)
        await models.refresh()
        first = models.failure("wave")
        await models.refresh()
        assert first is not None
        assert models.failure("wave") is first  # not before its time

    following(scenario, tmp_path, poll_seconds=1000.0)


def test_version_that_is_repaired_is_served(tmp_path: Path) -> None:
    async def scenario(models: ModelRegistry) -> None:
        publish(tmp_path)
        corrupt(tmp_path, "wave", 1)
        await models.refresh()
        corrupt(tmp_path, "wave", 1)  # the same bit again
        while models.failure("wave") is not None:
            await models.refresh()
        assert models.style("wave").label == "wave@1"

    following(scenario, tmp_path)


def test_later_store_hides_earlier_ones(tmp_path: Path) -> None:
    async def scenario(models: ModelRegistry) -> None:
        shipped, own = tmp_path / "shipped", tmp_path / "own"
        publish(shipped, built=network(seed=1))
        publish(shipped, "night")
        await models.refresh()
        before = models.style("wave").manifest.digest
        publish(own, built=network(seed=2))
        await models.refresh()
        assert models.style("wave").manifest.digest != before
        assert [model.name for model in models.all()] == ["night", "wave"]
        shutil.rmtree(own / "wave")
        await models.refresh()
        assert models.style("wave").manifest.digest == before

    following(scenario, tmp_path / "shipped", tmp_path / "own")


def test_style_and_upscaler_are_different_tasks(tmp_path: Path) -> None:
    async def scenario(models: ModelRegistry) -> None:
        publish(tmp_path)
        publish_upscaler(tmp_path)
        await models.refresh()
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
    async def scenario(models: ModelRegistry) -> None:
        for name in ("faces", "anime"):
            publish_upscaler(tmp_path, name)
        await models.refresh()
        assert models.upscalers(4)[0].name == "anime"
        assert models.upscalers(4, "faces")[0].name == "faces"
        publish_upscaler(tmp_path, "x4")
        publish_upscaler(tmp_path, "newest")
        await models.refresh()
        assert models.upscalers(4)[0].name == "x4"

    following(scenario, tmp_path)


def test_network_for_damaged_photographs_is_found_by_its_training(tmp_path: Path) -> None:
    async def scenario(models: ModelRegistry) -> None:
        publish_upscaler(tmp_path, "faces")
        publish_restorer(tmp_path, "old-scans")
        await models.refresh()
        assert models.upscalers(4)[0].name == "faces"  # though the other one is newer
        assert models.upscalers(4, "old-scans")[0].restores
        assert not models.find("faces").restores
        assert [found and found.name for found in (models.restorer(4), models.restorer(2))] == ["old-scans", None]
        publish_restorer(tmp_path, "x4-photo")
        publish_restorer(tmp_path, "newest")
        await models.refresh()
        found = models.restorer(4)
        assert found is not None
        assert found.name == "x4-photo"

    following(scenario, tmp_path)


def test_upscalers_are_chained_where_no_single_one_fits(tmp_path: Path) -> None:
    async def scenario(models: ModelRegistry) -> None:
        publish_upscaler(tmp_path)
        publish(tmp_path, "x2", network("c3s1-4,c3s1-12,p2", norm="none"))
        publish(tmp_path, "painterly", network("c3s1-4,c3s1-12,p2", norm="none", seed=1))
        await models.refresh()

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
    async def scenario(models: ModelRegistry) -> None:
        publish_upscaler(tmp_path, "faces")
        publish(tmp_path, "whole", network("c3s1-4,c3s1-12,p2", norm="instance"))
        publish(tmp_path, "x8", network("c3s1-4,c3s1-192,p8", norm="none"))
        await models.refresh()
        assert [model.name for model in models.enlargers()] == ["faces"]
        publish_upscaler(tmp_path)
        publish(tmp_path, "x2", network("c3s1-4,c3s1-12,p2", norm="none"))
        await models.refresh()
        assert [model.name for model in models.enlargers()] == ["x2", "x4"]

    following(scenario, tmp_path)


def test_scale_that_no_chain_has_is_made_by_the_next_larger_one(tmp_path: Path) -> None:
    async def scenario(models: ModelRegistry) -> None:
        publish_upscaler(tmp_path)
        publish(tmp_path, "x2", network("c3s1-4,c3s1-12,p2", norm="none"))
        await models.refresh()

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
    async def scenario(models: ModelRegistry) -> None:
        publish(tmp_path)
        await models.refresh()
        with pytest.raises(UnknownModel, match="no model enlarges ×2, nor do several in turn; there is none"):
            models.upscalers(2)

    following(scenario, tmp_path)


def test_model_whose_files_make_no_sense_does_not_stop_the_others(tmp_path: Path) -> None:
    async def scenario(models: ModelRegistry) -> None:
        publish(tmp_path, "night")
        publish(tmp_path, "wave")
        (tmp_path / "night" / "current").write_bytes(b"\xff\xff")
        (tmp_path / "a file").touch()
        (tmp_path / "an empty folder").mkdir()
        await models.refresh()
        assert [model.name for model in models.all()] == ["wave"]
        assert [failure.version.label for failure in models.failures()] == ["night@?"]

    following(scenario, tmp_path)


def test_stores_that_cannot_be_read_do_not_end_the_following(tmp_path: Path) -> None:
    async def scenario(models: ModelRegistry) -> None:
        root = tmp_path / "store"
        root.symlink_to("x" * 300)  # no file system has such a name: even to look is an error
        following = asyncio.create_task(models.follow())
        await until(lambda: models.trouble != "the models are being loaded")
        assert models.trouble == "the model stores cannot be read: OSError; the log has the details"
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

    async def scenario(models: ModelRegistry) -> None:
        with pytest.raises(DeviceLost):
            await models.follow()

    following(scenario, tmp_path, backend=LostBackend(1, 1))


def test_store_that_vanishes_keeps_its_models_loaded(tmp_path: Path) -> None:
    root = tmp_path / "store"

    async def scenario(models: ModelRegistry) -> None:
        publish(root)
        await models.refresh()
        held = models.style("wave")
        assert models.warnings() == []
        root.rename(tmp_path / "away")
        for _ in range(2):
            await models.refresh()
        assert models.style("wave") is held
        assert models.warnings() == [f"the store {root} is missing; its models stay loaded"]
        (tmp_path / "away").rename(root)
        await models.refresh()
        assert models.style("wave") is held
        assert models.warnings() == []

    metrics = following(scenario, root)
    assert metrics.registry.get_sample_value("pastiche_store_available", {"store": str(root)}) == 1


def test_log_says_which_model_of_how_many_is_loaded(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "service.models.registry")
    for name in ("udnie", "wave"):
        publish(tmp_path, name)
    corrupt(tmp_path, "wave", 1)

    async def scenario(models: ModelRegistry) -> None:
        await models.refresh()
        await models.refresh()

    following(scenario, tmp_path, poll_seconds=60)
    said = [record.getMessage() for record in caplog.records]
    assert [line for line in said if line.startswith("loading")] == [
        "loading udnie@1, 1 of 2",
        "loading wave@1, 2 of 2",
    ]
    assert re.fullmatch(r"1 of 2 models were loaded in \d+\.\d s", said[-1])
