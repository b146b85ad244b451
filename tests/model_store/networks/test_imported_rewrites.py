import copy

import pytest
import torch
from torch import nn

from model_store.importers.super_resolution import measure_imported
from model_store.networks import imported_rewrites
from model_store.networks.imported_rewrites import BandedLayers, fold_convolutions, rewrite_for_inference
from tests.foreign import esrgan, span

pytest.importorskip("spandrel")


def enlarging() -> nn.Sequential:
    """The end of ESRGAN, narrow."""
    torch.manual_seed(0)
    up = [[nn.Upsample(scale_factor=2.0), nn.Conv2d(4, 4, 3, padding=1), nn.LeakyReLU(0.2, inplace=True)]] * 2
    return nn.Sequential(*up[0], *copy.deepcopy(up[1]), nn.Conv2d(4, 4, 5, padding=2), nn.Conv2d(4, 3, 3, padding=1))


@pytest.mark.parametrize("size", [(1, 1), (11, 7), (40, 3), (3, 40)])
@torch.inference_mode()
def test_bands_give_what_the_whole_gives(monkeypatch: pytest.MonkeyPatch, size: tuple[int, int]) -> None:
    monkeypatch.setattr(imported_rewrites, "BAND_PIXELS", 21)
    layers, features = enlarging(), torch.randn(2, 4, *size)
    banded = BandedLayers(layers)
    assert (banded.scale, banded.margin) == (4, 2)  # 1/2 + 1/4 + 2/4 + 1/4 of a pixel
    assert (banded(features) - layers(features)).abs().max() < 1e-6


@torch.inference_mode()
def test_esrgan_enlarges_in_bands(monkeypatch: pytest.MonkeyPatch) -> None:
    network = measure_imported(esrgan())
    assert network.spec.values_per_pixel == 136  # 132 values into a convolution, and 4 out of it
    image = torch.rand(1, 3, 13, 9)
    expected = network(image)
    monkeypatch.setattr(imported_rewrites, "BAND_PIXELS", 27)
    fast = network.for_inference(torch.float32)
    assert any(isinstance(layer, BandedLayers) for layer in fast.modules())
    assert (fast(image) - expected).abs().max() < 1e-6


@torch.inference_mode()
def test_span_is_folded_once() -> None:
    network = measure_imported(span())
    image = torch.rand(1, 3, 13, 9)
    fast = network.for_inference(torch.float32)
    kinds = {type(layer).__name__ for layer in fast.modules()}
    assert "Conv3XC" not in kinds
    assert sum(isinstance(layer, nn.Conv2d) for layer in fast.modules()) == 22
    assert (fast(image) - network(image)).abs().max() < 1e-5


def test_other_layers_stay_as_they_are() -> None:
    kept = [
        nn.Sequential(nn.Upsample(scale_factor=2.0, mode="bilinear"), nn.Conv2d(3, 3, 3, padding=1)),
        nn.Sequential(nn.Upsample(scale_factor=2.0), nn.Conv2d(3, 3, 3, padding=1, padding_mode="reflect")),
        nn.Sequential(nn.Upsample(scale_factor=2.0), nn.Conv2d(3, 3, 3)),
        nn.Sequential(nn.Upsample(scale_factor=1.5), nn.Conv2d(3, 3, 3, padding=1)),
        nn.Sequential(nn.Upsample(scale_factor=2.0), nn.InstanceNorm2d(3)),
        nn.Sequential(nn.Conv2d(3, 3, 3), nn.ReLU()),
    ]
    model = nn.ModuleList(kept)
    before = str(model)
    rewrite_for_inference(model)
    assert str(model) == before


def test_a_folded_convolution_with_an_activation_stays() -> None:
    class Activated(nn.Module):
        has_relu = True

        def __init__(self) -> None:
            super().__init__()
            self.eval_conv = nn.Conv2d(3, 3, 3)

        def update_params(self) -> None:
            raise AssertionError

    model = nn.Sequential(Activated())
    fold_convolutions(model)
    assert isinstance(model[0], Activated)
