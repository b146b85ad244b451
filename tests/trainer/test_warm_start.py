import shutil
from pathlib import Path

import pytest
import torch

from model_store import Draft, NetworkSpec, TransformNetwork, open_store
from model_store.importers.importing import import_checkpoint
from model_store.importers.labels import Labels
from tests.foreign import compact_file
from tests.trainer.samples import published, run_training, style_config, upscale_config
from trainer.errors import TrainerError
from trainer.hardware import Hardware
from trainer.publishing import publish
from trainer.run_folder import Run
from trainer.task import build
from trainer.training_loop import train
from trainer.warm_start import added_blocks, layer_origins, warm_start

CPU = Hardware.of("cpu", "fp32")


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


@pytest.mark.parametrize(("stored", "own"), [("batch", "none"), ("none", "thumbnail")])
def test_a_warm_start_without_its_normalisation_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, stored: str, own: str
) -> None:
    published(style_config(tmp_path, norm=stored, steps=1))
    caplog.clear()
    for norm in (stored, own):
        config = style_config(tmp_path, norm=norm, warm_start="wave")
        warm_start(build(config, CPU).network, config)
    [record] = caplog.records
    told = f"--warm-start wave@1 has --norm {stored}: a network with --norm {own} has its convolutions alone"
    assert record.getMessage().startswith(told)


def test_a_run_begins_with_the_average_of_several_networks(tmp_path: Path) -> None:
    config = style_config(tmp_path, warm_start="wave@1,wave@2")
    store = open_store(config.store)
    network = build(config, CPU).network
    for _ in range(2):
        store.publish(TransformNetwork(network.spec).eval(), Draft(name="wave", task="style"))
    assert warm_start(network, config) == "wave@1:0.5,wave@2:0.5"
    stored = [store.load("wave", version).network.parameters() for version in (1, 2)]
    for own, one, other in zip(network.parameters(), *stored, strict=True):
        torch.testing.assert_close(own, (one + other) / 2)


def test_imported_networks_are_no_beginning_for_ours(tmp_path: Path) -> None:
    config = style_config(tmp_path, warm_start="tiny")
    store = open_store(config.store)
    import_checkpoint(store, compact_file(tmp_path), Labels("tiny"))
    network = TransformNetwork(NetworkSpec(architecture="c3s1-3", norm="none"))
    with pytest.raises(TrainerError, match="--warm-start tiny@1 is an imported Compact, not one of ours"):
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


@pytest.mark.parametrize("norm", ["none", "batch", "instance", "thumbnail"])
def test_a_deeper_network_begins_as_the_stored_one(tmp_path: Path, caplog: pytest.LogCaptureFixture, norm: str) -> None:
    config = style_config(tmp_path, warm_start="wave")
    torch.manual_seed(0)
    spec = NetworkSpec.model_validate({"architecture": "c3s1-4,d6,R6,u4,c3s1-3", "norm": norm, "form": "same"})
    stored = TransformNetwork(spec)
    open_store(config.store).publish(stored, Draft(name="wave", task="style"))
    deeper = TransformNetwork(spec.model_copy(update={"architecture": "c3s1-4,d6,R6*3,u4,c3s1-3"}))
    warm_start(deeper, config)
    image = torch.rand(1, 3, 24, 24)
    for network in (stored, deeper):
        network.eval()
    torch.testing.assert_close(deeper(image), stored(image), rtol=0, atol=1e-3)
    assert "5 of 7 layers begin as those of wave@1, the others as the identity" in caplog.text
    deeper.train()(image).square().mean().backward()
    assert all(block.second.get_parameter(_last(norm)).grad.any() for block in deeper.layers[3:5])  # type: ignore[union-attr]


def _last(norm: str) -> str:
    """The parameter of a residual block's last layer that makes it the identity."""
    return "conv.weight" if norm == "none" else "norm.weight"


def test_a_network_with_noise_begins_as_one_without(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    config = upscale_config(tmp_path, warm_start="x2")
    torch.manual_seed(0)
    spec = NetworkSpec(architecture=config.architecture, norm="none", form="same", skip=True, output="linear")
    stored, noisy = (TransformNetwork(spec.model_copy(update={"noise_channels": count})) for count in (0, 3))
    store = open_store(config.store)
    store.publish(stored, Draft(name="x2", task="super-resolution"))
    warm_start(noisy, config)
    image = torch.rand(1, 3, 24, 24)
    colours, noise = noisy.layers[0].get_parameter("conv.weight").detach().split([3, 3], dim=1)
    torch.testing.assert_close(colours, stored.layers[0].get_parameter("conv.weight"), rtol=0, atol=1e-3)
    assert float(noise.std() / colours.std()) == pytest.approx(0.1, rel=0.3)
    without = noisy(image, noise=torch.zeros(1, 3, 24, 24))
    torch.testing.assert_close(without, stored(image), rtol=0, atol=1e-3)
    assert 1e-4 < (noisy(image) - without).std() < 0.05
    store.publish(noisy, Draft(name="x2", task="super-resolution"))
    assert not caplog.messages
    warm_start(stored, config)
    torch.testing.assert_close(stored(image), without, rtol=0, atol=1e-3)
    assert caplog.messages == ["--warm-start x2@2 sees noise: --noise-channels 3 keeps it"]


@pytest.mark.parametrize(
    ("stored", "own", "origins", "added"),
    [
        ("c3s1-4,R4,c3s1-3", "c3s1-4,R4,c3s1-3", {0: 0, 1: 1, 2: 2}, []),
        ("c3s1-4,R4,c3s1-3", "c3s1-4,R4*3,c3s1-3", {0: 0, 1: 1, 4: 2}, [2, 3]),
        ("c3s1-4,c3s1-3", "c3s1-4,R4,c3s1-3", {0: 0, 2: 1}, [1]),
        ("c3s1-4,R4*3,c3s1-3", "c3s1-4,R4,c3s1-3", {0: 0, 1: 1}, []),
        ("c3s1-4,R4,c3s1-3", "c3s1-4,R4*3,c3s1-12,p2", {0: 0, 1: 1}, []),
        ("c3s1-4,R4,c3s1-3", "c3s1-4,R4,c3s1-4,c3s1-3", {0: 0, 1: 1}, []),
        ("c3s1-4,R4,c3s1-3", "c3s1-8,R8*2,c3s1-3", {}, []),
    ],
)
def test_layers_begin_as_the_equal_ones_of_a_stored_network(
    stored: str, own: str, origins: dict[int, int], added: list[int]
) -> None:
    specs = [NetworkSpec(architecture=text) for text in (stored, own)]
    assert layer_origins(*specs) == origins
    assert list(added_blocks(*specs)) == added


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
    assert publish(task, second, Run(second.folder).load()).provenance.recipe["warm_start"] == "wave@1"


def test_the_version_that_a_run_began_with_is_recorded_also_when_there_is_a_newer_one(tmp_path: Path) -> None:
    run_training(style_config(tmp_path, steps=3))
    first = style_config(tmp_path, steps=3)
    publish(build(first, CPU), first, Run(first.folder).load())
    second = style_config(tmp_path, warm_start="wave", run=tmp_path / "second", steps=3)
    run_training(second)
    newer = publish(build(second, CPU), second, Run(second.folder).load())
    assert (newer.label, newer.provenance.recipe["warm_start"]) == ("wave@2", "wave@1")
    run_training(second.model_copy(update={"steps": 4}), resume=True)
    again = publish(build(second, CPU), second, Run(second.folder).load())
    assert (again.provenance.steps, again.provenance.recipe["warm_start"]) == (4, "wave@1")


def test_a_run_without_a_warm_start_records_none(tmp_path: Path) -> None:
    assert published(style_config(tmp_path, steps=1)).provenance.recipe["warm_start"] == ""
