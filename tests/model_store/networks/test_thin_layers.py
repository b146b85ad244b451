import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.func import functional_call
from torch.nn import functional as F

from model_store.networks.layers import ConvLayer, Padding
from model_store.networks.thin_layers import (
    BlockedConv,
    LayerForm,
    StridedConv,
    in_form,
    is_thin,
    possible_forms,
    to_blocks,
    to_pixels,
    usual_form,
)

LAYERS = [(3, 8, 9), (8, 3, 9), (3, 5, 5), (5, 3, 7)]


@pytest.mark.parametrize("padding", ["zero", "reflection", "valid"])
@pytest.mark.parametrize(("channels", "filters", "kernel"), LAYERS)
def test_every_form_computes_the_same(channels: int, filters: int, kernel: int, padding: Padding) -> None:
    layer = ConvLayer(channels, filters, kernel, padding=padding).eval()
    with torch.inference_mode():
        for height, width in ((11, 12), (13, 18)):
            image = torch.rand(2, channels, height, width)
            for form in possible_forms(layer):
                assert (in_form(layer, form)(image) - layer(image)).abs().max() < 1e-5


def test_a_nine_by_nine_layer_in_blocks_is_a_dense_three_by_three_one() -> None:
    first, last = (ConvLayer(*channels, 9, padding="valid") for channels in ((3, 32), (32, 3)))
    assert in_form(first, LayerForm.BLOCKED_4).conv.weight.shape == (512, 48, 3, 3)
    assert in_form(last, LayerForm.BLOCKED_4).conv.weight.shape == (48, 512, 3, 3)
    assert in_form(last, LayerForm.STRIDED).conv.weight.shape == (12, 32, 10, 10)
    assert in_form(first, LayerForm.PADDED).conv.weight.shape == (32, 8, 9, 9)


def test_usual_forms_and_which_layers_are_thin() -> None:
    first, last, inner = (ConvLayer(a, b, 9, padding="valid") for a, b in ((3, 8), (8, 3), (8, 8)))
    assert [usual_form(first), usual_form(last)] == [LayerForm.PLAIN, LayerForm.STRIDED]
    assert [is_thin(first), is_thin(last), is_thin(inner)] == [True, True, False]
    assert not is_thin(ConvLayer(3, 8, 3, padding="valid"))
    assert not is_thin(ConvLayer(3, 8, 9, 2, padding="valid"))


def test_normalised_channels_are_not_padded() -> None:
    layers = [ConvLayer(3, filters, 9, padding="valid", norm="thumbnail") for filters in (6, 8)]
    assert [LayerForm.PADDED in possible_forms(layer) for layer in layers] == [False, True]


@pytest.mark.parametrize("form", [LayerForm.STRIDED, LayerForm.BLOCKED_2, LayerForm.BLOCKED_4])
def test_planes_of_whole_blocks_are_not_copied(form: LayerForm) -> None:
    layer = in_form(ConvLayer(8, 3, 9, padding="valid"), form)
    assert isinstance(layer, StridedConv | BlockedConv)
    plane = torch.rand(1, 8, 16, 24)
    assert layer.padded(plane, reflected=False)[0] is plane
    assert layer.padded(plane[..., :-1], reflected=False)[0].shape == plane.shape


@pytest.mark.parametrize("form", LayerForm)
def test_features_stay_in_channels_last_on_a_gpu(form: LayerForm) -> None:
    """Torch knows the layouts there without one."""
    layer = in_form(ConvLayer(3, 16, 9, padding="valid"), form).to(memory_format=torch.channels_last)
    with FakeTensorMode() as mode, torch.no_grad():
        weights = {name: mode.from_tensor(tensor).to("cuda") for name, tensor in layer.named_parameters()}
        image = torch.empty(2, 48, 64, 3, device="cuda").permute(0, 3, 1, 2)
        features = functional_call(layer, weights, (image,))
    assert features.device.type == "cuda"
    assert features.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("channels", [3, 32])
@pytest.mark.parametrize("block", [2, 4])
def test_blocks_are_those_of_torch(channels: int, block: int) -> None:
    image = torch.rand(2, channels, 8, 12).contiguous(memory_format=torch.channels_last)
    blocks = to_blocks(image, block)
    assert torch.equal(blocks, F.pixel_unshuffle(image, block))
    assert blocks.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(to_pixels(blocks, block), image)
