from pathlib import Path

import pytest
import torch
import torchvision
from safetensors.torch import load_file, save_file
from torch import nn

from tests.trainer.samples import loss_network_file
from trainer.errors import LossNetworkError
from trainer.loss_network import LAYOUTS, LossNetwork, load_loss_network


def vgg16_weights() -> dict[str, torch.Tensor]:
    with torch.device("meta"):
        features = torchvision.models.vgg16(weights=None).features
    generator = torch.Generator().manual_seed(0)
    return {
        f"features.{key}": torch.randn(value.shape, generator=generator) * 0.02
        for key, value in features.state_dict().items()
    }


def test_vgg16_has_the_papers_layers() -> None:
    weights = vgg16_weights()
    network = LossNetwork(LAYOUTS["vgg16"], weights, "random")
    assert {network.index[layer] for layer in ("relu1_2", "relu2_2", "relu3_3", "relu4_3", "relu5_1", "relu5_3")} == {
        3, 8, 15, 22, 25, 29,
    }  # fmt: skip
    features = network(torch.rand(2, 3, 32, 48), ["relu1_2", "relu4_3"])
    assert features["relu1_2"].shape == (2, 64, 32, 48)
    assert features["relu4_3"].shape == (2, 512, 4, 6)


def test_vgg16_normalises_as_torchvision_does() -> None:
    weights = vgg16_weights()
    image = torch.rand(1, 3, 16, 16)
    before = image.clone()
    preset = torchvision.models.VGG16_Weights.IMAGENET1K_V1.transforms()
    normalised = torchvision.transforms.functional.normalize(image, preset.mean, preset.std)
    conv = nn.functional.conv2d(normalised, weights["features.0.weight"], weights["features.0.bias"], padding=1)
    network = LossNetwork(LAYOUTS["vgg16"], weights, "random")
    assert torch.allclose(network(image, ["relu1_1"])["relu1_1"], conv.relu(), atol=1e-6)
    assert torch.equal(image, before)


def test_distilled_vgg19_of_any_width_is_recognised(tmp_path: Path) -> None:
    network = load_loss_network(str(loss_network_file(tmp_path / "l.safetensors", width=5)))
    assert network.layout.name == "vgg19-distilled"
    assert network.source.startswith("vgg19-distilled, sha256:")
    features = network(torch.rand(1, 3, 32, 32), ["relu1_2", "relu3_4", "relu5_1"])
    assert [tuple(value.shape) for value in features.values()] == [(1, 5, 32, 32), (1, 5, 8, 8), (1, 5, 2, 2)]


def test_weights_of_a_wrapped_network_are_recognised(tmp_path: Path) -> None:
    plain, wrapped = tmp_path / "plain.safetensors", tmp_path / "wrapped.safetensors"
    save_file({f"_orig_mod.module.{key}": each for key, each in load_file(loss_network_file(plain)).items()}, wrapped)
    image = torch.rand(1, 3, 32, 32)
    expected, found = (load_loss_network(str(path))(image, ["relu3_4"]) for path in (plain, wrapped))
    assert found["relu3_4"].equal(expected["relu3_4"])


def test_squeezenet_is_recognised_in_half_precision(tmp_path: Path) -> None:
    state = torchvision.models.squeezenet1_1(weights=None).state_dict()
    save_file({key: value.half() for key, value in state.items()}, tmp_path / "s.safetensors")
    network = load_loss_network(str(tmp_path / "s.safetensors"))
    assert network.layout.name == "squeezenet1_1"
    features = network(torch.rand(1, 3, 64, 64), network.layout.style_layers)
    assert [value.shape[1] for value in features.values()] == [64, 128, 256, 384]


def test_features_that_were_asked_for_are_not_overwritten(tmp_path: Path) -> None:
    network = load_loss_network(str(loss_network_file(tmp_path / "l.safetensors")))
    image = torch.rand(1, 3, 16, 16)
    alone = network(image, ["relu1_1"])["relu1_1"]
    assert torch.equal(network(image, ["relu1_1", "relu2_2"])["relu1_1"], alone)


def test_no_gradient_reaches_the_weights_but_the_image(tmp_path: Path) -> None:
    network = load_loss_network(str(loss_network_file(tmp_path / "l.safetensors")))
    image = torch.rand(1, 3, 16, 16, requires_grad=True)
    network(image, ["relu3_3"])["relu3_3"].sum().backward()
    assert image.grad is not None
    assert image.grad.abs().sum() > 0
    assert all(parameter.grad is None for parameter in network.parameters())


def test_the_layout_can_be_stated_by_metadata(tmp_path: Path) -> None:
    weights = load_file(loss_network_file(tmp_path / "l.safetensors"))
    save_file(
        weights | {"features.28.weight": torch.zeros(1)}, tmp_path / "m.safetensors", {"layout": "vgg19-distilled"}
    )
    assert load_loss_network(str(tmp_path / "m.safetensors")).layout.name == "vgg19-distilled"
    with pytest.raises(LossNetworkError, match="do not fit"):
        load_loss_network(str(tmp_path / "m.safetensors"), "vgg16")


def test_a_failed_download_is_explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    for proxy in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(proxy, "http://127.0.0.1:9")  # nothing listens on this port
    monkeypatch.delenv("no_proxy", raising=False)
    with pytest.raises(LossNetworkError, match=r"could not be downloaded: .*takes a safetensors file"):
        load_loss_network("torchvision")


def test_clear_errors(tmp_path: Path) -> None:
    file = loss_network_file(tmp_path / "l.safetensors")
    with pytest.raises(LossNetworkError, match=r"no layer 'relu9_9'; it has: relu1_1"):
        load_loss_network(str(file))(torch.rand(1, 3, 8, 8), ["relu9_9"])
    with pytest.raises(LossNetworkError, match=r"zero: .*; --loss-network takes torchvision or a safetensors file"):
        load_loss_network("/dev/zero")
    with pytest.raises(LossNetworkError, match="takes torchvision or a safetensors file"):
        load_loss_network(str(tmp_path / "none"))
    with pytest.raises(LossNetworkError, match="there are: auto, vgg16, vgg11, vgg19-distilled, squeezenet1_1"):
        load_loss_network(str(file), "vgg13")
    save_file({"a": torch.zeros(1)}, tmp_path / "a.safetensors")
    with pytest.raises(LossNetworkError, match="not recognised"):
        load_loss_network(str(tmp_path / "a.safetensors"))


@pytest.mark.parametrize("source", ["distilled", "random", "squeezenet"])
def test_images_that_are_too_small_are_refused(tmp_path: Path, source: str) -> None:
    save_file(torchvision.models.squeezenet1_1(weights=None).features.state_dict(prefix="features."), tmp_path / "s")
    files = {"distilled": str(loss_network_file(tmp_path / "l.safetensors")), "squeezenet": str(tmp_path / "s")}
    network = load_loss_network(files.get(source, source))
    network(torch.rand(1, 3, 40, 32), network.index)
    with pytest.raises(LossNetworkError, match="32×2 pixels are too few for the layers of"):
        network(torch.rand(1, 3, 2, 32), network.index)


@pytest.mark.parametrize("layout", [layout for layout in LAYOUTS if layout != "vgg19-distilled"])
def test_a_file_of_another_layout_does_not_fit(tmp_path: Path, layout: str) -> None:
    file = loss_network_file(tmp_path / "l.safetensors")
    with pytest.raises(LossNetworkError, match=f"do not fit the layout {layout}: "):
        load_loss_network(str(file), layout)


@pytest.mark.parametrize(
    ("key", "shape"),
    [
        ("conv33.bias", None),
        ("conv33.bias", (7,)),
        ("conv33.weight", (3,)),
        ("conv33.weight", (3, 7, 3, 3)),
        ("conv33.weight", (3, 3, 5, 5)),
    ],
)
def test_tensors_of_another_shape_do_not_fit(tmp_path: Path, key: str, shape: tuple[int, ...] | None) -> None:
    weights = load_file(loss_network_file(tmp_path / "l.safetensors"))
    del weights[key]
    save_file(weights | ({key: torch.zeros(shape)} if shape else {}), tmp_path / "odd.safetensors")
    with pytest.raises(LossNetworkError, match="do not fit the layout vgg19-distilled: "):
        load_loss_network(str(tmp_path / "odd.safetensors"))


def test_vgg11_has_as_many_layers_as_there_are_weights_for(tmp_path: Path) -> None:
    with torch.device("meta"):
        shapes = torchvision.models.vgg11(weights=None).features[:9].state_dict()
    save_file({f"features.{key}": torch.rand(value.shape) for key, value in shapes.items()}, tmp_path / "v.safetensors")
    network = load_loss_network(str(tmp_path / "v.safetensors"))
    assert network.layout.name == "vgg11"
    assert set(network.index) == {"relu1_1", "relu2_1", "relu3_1", "relu3_2"}
    features = network(torch.rand(1, 3, 32, 32), network.layout.style_layers)
    assert [tuple(value.shape[1:]) for value in features.values()] == [
        (64, 32, 32), (128, 16, 16), (256, 8, 8), (256, 8, 8),
    ]  # fmt: skip


def test_random_weights_keep_the_variance_of_features_and_are_the_same_every_time() -> None:
    one, other = load_loss_network("random"), load_loss_network("random")
    image = torch.rand(1, 3, 64, 64)
    layers = ["relu1_2", "relu4_3"]
    features = one(image, layers)
    assert all(0.1 < value.std() < 10 for value in features.values())
    assert torch.equal(features["relu4_3"], other(image, layers)["relu4_3"])
    assert one.source == "vgg16, random weights"


def test_average_pooling_does_not_reward_a_checkerboard(tmp_path: Path) -> None:
    file = str(loss_network_file(tmp_path / "l.safetensors"))
    maximal, average = load_loss_network(file), load_loss_network(file, pooling="average")
    assert average.source == f"{maximal.source}, average pooling"
    image = torch.rand(1, 3, 32, 32)
    assert torch.equal(average(image, ["relu1_2"])["relu1_2"], maximal(image, ["relu1_2"])["relu1_2"])
    pooled = [network.features[: network.index["relu2_1"] - 1] for network in (maximal, average)]
    (larger, mean), before = (part(image) for part in pooled), pooled[0][:-1](image)
    torch.testing.assert_close(mean, before.unfold(2, 2, 2).unfold(3, 2, 2).mean(dim=(4, 5)))
    assert (larger >= mean).all()
