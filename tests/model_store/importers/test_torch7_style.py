from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from model_store import for_inference
from model_store.errors import UnknownCheckpoint
from model_store.importers.style_layout import StyleLayout
from model_store.importers.torch7 import read_torch7
from model_store.importers.torch7_style import JCJOHNSON_BATCH, JCJOHNSON_INSTANCE, from_torch7
from tests.originals import Johnson, randomized, torch_norm
from tests.torch7 import Layer, torch7

SIZES = [(44, 48), (61, 45)]
"""More than the forty pixels that are reflected."""

MEAN = torch.tensor([103.939, 116.779, 123.68])[:, None, None]
"""BGR."""

CASES: dict[str, tuple[StyleLayout, Callable[[int], nn.Module]]] = {
    "batch": (JCJOHNSON_BATCH, nn.BatchNorm2d),
    "instance": (JCJOHNSON_INSTANCE, torch_norm),
}


def original(norm: Callable[[int], nn.Module]) -> Johnson:
    network = Johnson(norm)
    randomized(network)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean = torch.rand(module.num_features)
            module.running_var = 1 + torch.rand(module.num_features)
    return network


def tensors(network: Johnson) -> dict[str, Tensor]:
    return from_torch7(read_torch7(torch7({"model": network.as_torch7(), "opt": {"task": "style"}})))


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("size", SIZES)
@torch.inference_mode()
def test_output_is_that_of_the_original(name: str, size: tuple[int, int]) -> None:
    layout, norm = CASES[name]
    network = original(norm)
    image = torch.rand(1, 3, *size)
    output = (network(image.flip(1) * 255 - MEAN) + MEAN).flip(1) / 255
    expected = output[..., : size[0], : size[1]].clamp(0, 1)
    assert ((expected > 0) & (expected < 1)).float().mean() > 0.2
    found = tensors(network)
    assert layout.differences(found) == []
    converted = layout.convert(found)
    assert (converted(image) - expected).abs().max() < 5e-5
    assert (for_inference(converted)(image) - expected).abs().max() < 5e-5


def test_normalisations_are_told_apart() -> None:
    found = tensors(original(nn.BatchNorm2d))
    assert "down1.norm.running_mean is not part of it" in JCJOHNSON_INSTANCE.differences(found)
    assert "down1.norm.running_mean is missing" in JCJOHNSON_BATCH.differences(tensors(original(torch_norm)))


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda layers: layers.pop(0), "begins with nn.SpatialConvolution; networks with padding_type reflect-start"),
        (lambda layers: layers[0].fields.update(pad_l=20), r"reflects 20\.0 pixels, where 5 residual blocks take 40"),
        (lambda layers: layers.append(Layer("nn.SpatialUpSamplingNearest", {})), "has a nn.SpatialUpSamplingNearest"),
        (lambda layers: layers.append(Layer("nn.MulConstant", {"constant_scalar": 2})), r"multiplied by \[150.*, 2"),
    ],
)
def test_other_networks_are_refused(change: Callable[[list[Layer]], object], complaint: str) -> None:
    layers = list(original(torch_norm).as_torch7().fields["modules"].values())
    change(layers)
    changed = Layer("nn.Sequential", {"modules": dict(enumerate(layers, 1))})
    with pytest.raises(UnknownCheckpoint, match=complaint):
        from_torch7(read_torch7(torch7({"model": changed})))


@pytest.mark.parametrize("modules", [None, True, {1: "a layer"}, {1: None}])
def test_modules_that_are_no_layers_are_refused(modules: object) -> None:
    content = torch7({"model": Layer("nn.Sequential", {"modules": modules})})
    with pytest.raises(UnknownCheckpoint, match="other things than layers"):
        from_torch7(read_torch7(content))


def test_a_file_without_a_network_is_refused() -> None:
    with pytest.raises(UnknownCheckpoint, match="no network under 'model'"):
        from_torch7({"opt": {}})
