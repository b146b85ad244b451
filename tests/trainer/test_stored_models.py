import shutil
from pathlib import Path

import pytest
import torch

from model_store import Draft, NetworkSpec, TransformNetwork, open_store
from model_store.importers.importing import import_checkpoint
from model_store.importers.labels import Labels
from tests.foreign import compact_file
from tests.trainer.samples import run_training, style_config, upscale_config
from trainer.errors import TrainerError
from trainer.hardware import Hardware
from trainer.publishing import publish
from trainer.run_folder import Run
from trainer.stored_models import warm_start
from trainer.task import build
from trainer.training_loop import train


def test_a_warm_start_begins_with_stored_weights(tmp_path: Path) -> None:
    config = style_config(tmp_path, norm="batch")
    task = build(config, Hardware.of("cpu", "fp32"))
    train(task, config, Run(config.folder))
    publish(task, config, Run(config.folder).load())
    stored = open_store(config.store).load("wave").network.state_dict()
    same, other = task.network, TransformNetwork(task.network.spec.model_copy(update={"norm": "instance"}))
    for network in (same, other):
        warm_start(network, style_config(tmp_path, warm_start="wave@1"))
        assert all(torch.equal(value, stored[key]) for key, value in network.state_dict().items())
    assert len(other.state_dict()) < len(stored)
    wider = TransformNetwork(NetworkSpec(architecture="c3s1-3"))
    with pytest.raises(TrainerError, match="is another network; it has architecture"):
        warm_start(wider, style_config(tmp_path, warm_start="wave"))
    bounded = TransformNetwork(task.network.spec.model_copy(update={"output": "tanh"}))
    with pytest.raises(TrainerError, match="is another network; it has output linear"):
        warm_start(bounded, style_config(tmp_path, warm_start="wave"))


def test_imported_networks_are_no_beginning_for_ours(tmp_path: Path) -> None:
    config = style_config(tmp_path, warm_start="tiny")
    store = open_store(config.store)
    import_checkpoint(store, compact_file(tmp_path), Labels("tiny"))
    network = TransformNetwork(NetworkSpec(architecture="c3s1-3", norm="none"))
    with pytest.raises(TrainerError, match="--warm-start tiny is an imported Compact, not one of ours"):
        warm_start(network, config)
    other = network.spec.model_copy(update={"output_zero": (0.0, 0.0, 0.0)})
    store.publish(TransformNetwork(other), Draft(name="tiny", task="style"))
    with pytest.raises(TrainerError, match=r"is another network; it has output_zero \(0\.0, 0\.0, 0\.0\)"):
        warm_start(network, config)


def test_a_network_of_another_scale_begins_with_the_layers_that_agree(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = upscale_config(tmp_path, scale=4, architecture="c3s1-6,R6*2,c3s1-48,p4")
    task = build(config, Hardware.of("cpu", "fp32"))
    train(task, config, Run(config.folder))
    publish(task, config, Run(config.folder).load())
    stored = open_store(config.store).load(config.name).network.state_dict()
    twice = TransformNetwork(task.network.spec.model_copy(update={"architecture": "c3s1-6,R6*2,c3s1-12,p2"}))
    before = {key: value.clone() for key, value in twice.state_dict().items()}
    warm_start(twice, upscale_config(tmp_path, warm_start=config.name))
    for key, value in twice.state_dict().items():
        assert torch.equal(value, before[key] if key.startswith("layers.3.") else stored[key])
    assert "its --architecture is c3s1-6,R6*2,c3s1-48,p4" in caplog.text


@pytest.mark.parametrize("stored", ["instance", "batch", "thumbnail"])
def test_thumbnail_normalisation_begins_with_the_weights_of_every_other(tmp_path: Path, stored: str) -> None:
    config = style_config(tmp_path, norm=stored)
    task = build(config, Hardware.of("cpu", "fp32"))
    train(task, config, Run(config.folder))
    publish(task, config, Run(config.folder).load())
    expected = open_store(config.store).load("wave").network.state_dict()
    local = build(style_config(tmp_path, norm="thumbnail", thumbnail=64), Hardware.of("cpu", "fp32")).network
    warm_start(local, style_config(tmp_path, warm_start="wave"))
    assert local.spec.thumbnail == 64
    assert local.state_dict().keys() <= expected.keys()
    assert all(torch.equal(value, expected[key]) for key, value in local.state_dict().items())


def test_a_warm_start_is_not_repeated_when_a_run_goes_on_or_is_published(tmp_path: Path) -> None:
    first = style_config(tmp_path, steps=3)
    run_training(first)
    task = build(first, Hardware.of("cpu", "fp32"))
    publish(task, first, Run(first.folder).load())
    second = style_config(tmp_path, warm_start="wave", run=tmp_path / "second", steps=3)
    run_training(second)
    shutil.rmtree(first.store)
    run_training(style_config(tmp_path, warm_start="wave", run=tmp_path / "second"), resume=True)
    task = build(second, Hardware.of("cpu", "fp32"))
    assert publish(task, second, Run(second.folder).load()).provenance.recipe["warm_start"] == "wave"
