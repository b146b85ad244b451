from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from model_store import open_store
from tests.networks import own_spec
from tests.trainer.samples import photograph, run_training, style_config, upscale_config
from trainer.config import TrainConfig
from trainer.errors import RunError
from trainer.hardware import Hardware
from trainer.pictures import file_digest
from trainer.publishing import publish
from trainer.run_folder import Run
from trainer.task import build
from trainer.training_loop import train


def test_the_published_network_is_the_averaged_one_in_its_served_form(tmp_path: Path) -> None:
    config = style_config(tmp_path, style_title="A painting")
    task = build(config, Hardware.of("cpu", "fp32"))
    average = train(task, config, Run(config.folder))
    manifest = publish(task, config, Run(config.folder).load())
    model = open_store(config.store).load("wave")
    assert (own_spec(model.manifest).form, model.manifest.tileable) == ("native", True)
    stored = model.network.state_dict()["layers.0.conv.weight"]
    assert torch.equal(stored, average.state_dict()["layers.0.conv.weight"].half().float())
    assert not torch.equal(stored, task.network.state_dict()["layers.0.conv.weight"].half().float())
    provenance = manifest.provenance
    assert provenance.steps == 6
    assert provenance.style_image == "A painting"
    assert provenance.style_digest.startswith("sha256:")
    assert provenance.loss_network.startswith("vgg19-distilled, sha256:")
    assert provenance.recipe["style_weight"] == config.style_weight
    assert set(provenance.losses) >= {"content", "tv"}
    assert str(tmp_path) not in manifest.model_dump_json()  # no paths of the machine that trained it
    assert open_store(config.store).preview("wave") is not None


def test_instance_norm_is_served_as_it_was_trained(tmp_path: Path) -> None:
    config = style_config(tmp_path, norm="instance")
    task = build(config, Hardware.of("cpu", "fp32"))
    train(task, config, Run(config.folder))
    manifest = publish(task, config, Run(config.folder).load())
    assert (own_spec(manifest).form, manifest.tileable) == ("same", False)


def test_thumbnail_normalisation_is_served_in_the_native_form(tmp_path: Path) -> None:
    config = style_config(tmp_path, norm="thumbnail", thumbnail=24, zoom=2.0)
    run_training(config)
    task = build(config, Hardware.of("cpu", "fp32"))
    manifest = publish(task, config, Run(config.folder).load())
    assert (own_spec(manifest).form, manifest.tileable, own_spec(manifest).thumbnail) == ("native", True, 24)
    assert (manifest.provenance.recipe["thumbnail"], manifest.provenance.recipe["zoom"]) == (24, 2.0)
    assert open_store(config.store).verify("wave") == manifest


def test_a_network_is_not_published_with_a_painting_that_it_was_not_trained_on(tmp_path: Path) -> None:
    config = style_config(tmp_path)
    run_training(config)
    photograph(config.style_image, 64, 64, seed=7)
    _require_refusal(config)


@pytest.mark.parametrize("make_config", [style_config, upscale_config])
def test_a_network_is_not_published_with_photographs_that_it_was_not_trained_on(
    tmp_path: Path, make_config: Callable[[Path], TrainConfig]
) -> None:
    config = make_config(tmp_path)
    run_training(config)
    (config.content / "0.png").unlink()
    _require_refusal(config)


def _require_refusal(config: TrainConfig) -> None:
    task = build(config, Hardware.of("cpu", "fp32"))
    with pytest.raises(RunError, match="was trained with other photographs, another painting"):
        publish(task, config, Run(config.folder).load())
    assert open_store(config.store).versions(config.name) == []


def test_a_painting_that_is_replaced_during_a_training_is_recorded_as_it_was_read(tmp_path: Path) -> None:
    config = style_config(tmp_path)
    read = file_digest(config.style_image)
    task = build(config, Hardware.of("cpu", "fp32"))
    photograph(config.style_image, 64, 64, seed=7)
    train(task, config, Run(config.folder))
    assert publish(task, config, Run(config.folder).load()).provenance.style_digest == read != ""
    assert file_digest(config.style_image) != read
