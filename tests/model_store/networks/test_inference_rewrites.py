import pytest
import torch
from torch import nn

from model_store import (
    SHIPPED_STORE,
    STYLE,
    UPSCALE_4,
    LayerForm,
    ModelStore,
    TransformNetwork,
    area_reduced,
    for_inference,
    thin_layers,
)
from model_store.networks.inference_rewrites import FusedUpsample
from model_store.networks.thin_layers import StridedConv
from tests.networks import NARROW_STYLE, NARROW_UPSCALE_4, network, own, pictures

SIDES = [(31, 46), (64, 57)]
TINY = [(1, 1), (5, 2)]
"""Too small for networks with instance normalisation, which divide rounding errors by a variance of nearly zero."""


@pytest.mark.parametrize("form", ["paper", "same", "native"])
@pytest.mark.parametrize("norm", ["batch", "instance", "none"])
@pytest.mark.parametrize("architecture", [NARROW_STYLE, NARROW_UPSCALE_4, "c5s1-6,R6,c5s1-3"])
def test_is_the_same_function(architecture: str, norm: str, form: str) -> None:
    trained = network(architecture, norm, form)
    fast = for_inference(trained)
    for side in SIDES + (TINY if norm != "instance" else []):
        image = torch.rand(2, 3, *side)
        with torch.inference_mode():
            assert (fast(image) - trained(image)).abs().max() < 1e-5


@pytest.mark.parametrize("layer_form", LayerForm)
@pytest.mark.parametrize(("norm", "form"), [("batch", "paper"), ("none", "same"), ("thumbnail", "native")])
def test_is_the_same_function_in_every_form_of_thin_layers(norm: str, form: str, layer_form: LayerForm) -> None:
    trained = network("c9s1-4,c5s1-3,c7s1-6,R6,c9s1-3", norm, form)
    forms = {i: layer_form for i, layer in thin_layers(trained, torch.float32).items() if layer_form in layer}
    fast = for_inference(trained, forms=forms)
    for side in SIDES + (TINY if norm != "thumbnail" else []):
        image = pictures(2, *side)
        with torch.inference_mode():
            assert (fast(image) - trained(image)).abs().max() < 2e-5
    assert f"2:{layer_form}" in fast.variant or (norm == "thumbnail" and layer_form is LayerForm.PADDED)


@pytest.mark.parametrize("architecture", ["c3s1-8,R8,c3s1-48,p4", "c9s1-8,c9s1-3"])
def test_noise_is_the_same(architecture: str) -> None:
    trained = network(architecture, "none", skip=True, noise_channels=3)
    image = pictures(2, 37, 50)
    with torch.inference_mode():
        assert (for_inference(trained)(image) - trained(image)).abs().max() < 1e-5


def test_thin_layers_are_those_of_large_kernels_from_or_to_few_channels() -> None:
    found = thin_layers(network("c9s1-32,d16,R16,u16,c3s1-3,c9s1-3"), torch.bfloat16)
    assert list(found) == [0, 5]
    assert [next(iter(forms)) for forms in found.values()] == [LayerForm.PLAIN, LayerForm.STRIDED]
    assert all(set(forms) == set(LayerForm) for forms in found.values())


@pytest.mark.parametrize("architecture", [STYLE, UPSCALE_4])
def test_is_the_same_function_at_full_width(architecture: str) -> None:
    trained = network(architecture)
    image = torch.rand(1, 3, 37, 50)
    with torch.inference_mode():
        assert (for_inference(trained)(image) - trained(image)).abs().max() < 1e-5


THUMBNAIL_ARCHITECTURES = [NARROW_STYLE, NARROW_UPSCALE_4, "c5s1-6,R6,c5s1-3,c7s1-3", "c3s1-12,p2,c5s1-3,c3s1-3"]


@pytest.mark.parametrize("form", ["same", "native"])
@pytest.mark.parametrize("architecture", THUMBNAIL_ARCHITECTURES)
def test_is_the_same_function_of_given_statistics(architecture: str, form: str) -> None:
    trained = network(architecture, "thumbnail", form)
    fast = for_inference(trained)
    assert fast.needs_statistics
    for side in ((31, 46), (64, 57)):
        small, plane = pictures(2, 23, 30), torch.rand(2, 3, 100 + side[0], 100 + side[1])
        with torch.inference_mode():
            expected = trained.transform(plane, trained.statistics(small))
            statistics = fast.statistics(small)
            assert (fast.transform(plane, statistics) - expected).abs().max() < 1e-5
            for i in range(2):  # one image, whose statistics are folded into the weights
                part = fast.transform(plane[i : i + 1], statistics[i : i + 1])
                assert (part - expected[i : i + 1]).abs().max() < 1e-5


@pytest.mark.parametrize("norm", ["thumbnail", "instance"])
@pytest.mark.parametrize("architecture", ["c9s1-8,d8,R8,u8,c9s1-3", "c9s1-3,c3s1-8,c9s1-3"])
def test_a_bias_that_normalisation_takes_away_is_left_out(architecture: str, norm: str) -> None:
    trained = network(architecture, norm)
    for module in trained.modules():
        if isinstance(module, nn.Conv2d) and module.bias is not None:
            nn.init.uniform_(module.bias, -3, 3)
    for forms in ({}, {0: LayerForm.BLOCKED_2}, {0: LayerForm.STRIDED}):
        fast = for_inference(trained, forms=forms)
        convolutions = [module for module in fast.modules() if isinstance(module, nn.Conv2d | nn.ConvTranspose2d)]
        assert [conv.bias is None for conv in convolutions] == [True] * (len(convolutions) - 1) + [False]
        image = pictures(1, 64, 57)
        with torch.inference_mode():
            assert (fast(image) - trained(image)).abs().max() < 2e-5


@pytest.mark.parametrize("form", ["same", "native"])
@pytest.mark.parametrize("count", [1, 2])
def test_finds_the_statistics_of_an_image_itself(form: str, count: int) -> None:
    trained = network(norm="thumbnail", form=form, thumbnail=32)
    fast = for_inference(trained)
    for side in ((20, 32), (70, 90)):
        image = pictures(count, *side)
        with torch.inference_mode():
            assert (fast(image) - trained(image)).abs().max() < 1e-4  # a variance of nearly 0 enlarges rounding errors


def test_statistics_may_change_from_call_to_call() -> None:
    fast = for_inference(network(norm="thumbnail"))
    before = {key: value.clone() for key, value in fast.state_dict().items()}
    plane, small = torch.rand(1, 3, 130, 130), pictures(2, 20, 20)
    with torch.inference_mode():
        statistics = fast.statistics(small)
        first = fast.transform(plane, statistics[:1])
        second = fast.transform(plane, statistics[1:])
        assert torch.equal(fast.transform(plane, statistics[:1]), first)
    assert (first - second).abs().max() > 0.01
    assert all(torch.equal(value, fast.state_dict()[key]) for key, value in before.items())


@pytest.mark.parametrize("precision", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("count", [1, 3])
def test_half_precisions_stay_close_with_statistics(precision: torch.dtype, count: int) -> None:
    trained = network(norm="thumbnail", thumbnail=64)
    fast = for_inference(trained, precision)
    image = pictures(count, 122, 166)
    with torch.inference_mode():
        error = (fast(image) - trained(image)).square().mean()
        assert fast.statistics(area_reduced(image, 64)).dtype == torch.float32
    assert -10 * torch.log10(error) > 40  # as without


@pytest.mark.parametrize("precision", [torch.bfloat16, torch.float32])
@pytest.mark.parametrize("count", [1, 2])
def test_nearly_flat_pictures_keep_their_colours(precision: torch.dtype, count: int) -> None:
    stored = own(ModelStore(SHIPPED_STORE).load("starry-night").network)
    trained = TransformNetwork(stored.spec.model_copy(update={"norm": "thumbnail", "form": "native", "thumbnail": 64}))
    trained.load_state_dict(stored.state_dict(), strict=False)
    image = torch.ones(1, 3, 200, 200)
    image[..., 96:100, 40:160] = 0  # a line on white paper
    with torch.inference_mode():
        fast = for_inference(trained.eval(), precision)(image.expand(count, -1, -1, -1))
        error = (fast - trained(image)).square().mean()
    assert -10 * torch.log10(error) > 40


def test_a_skip_connection_survives() -> None:
    trained = network("c3s1-8,R8*2,c3s1-48,p4", norm="none", output="linear", skip=True)
    image = torch.rand(1, 3, 13, 22)
    with torch.inference_mode():
        assert (for_inference(trained)(image) - trained(image)).abs().max() < 1e-5


@pytest.mark.parametrize("precision", [torch.bfloat16, torch.float16])
def test_half_precisions_stay_close(precision: torch.dtype) -> None:
    trained = network()
    image = pictures(1, 61, 83)
    with torch.inference_mode():
        fast = for_inference(trained, precision)(image)
        error = (fast - trained(image)).square().mean()
    assert fast.dtype == torch.float32
    assert -10 * torch.log10(error) > 40  # with 4 to 8 channels, among which rounding errors average out less


def test_rewrites_every_costly_layer_and_leaves_the_original_alone() -> None:
    trained = network()
    before = {key: value.clone() for key, value in trained.state_dict().items()}
    fast = for_inference(trained)
    kinds = [type(module) for module in fast.layers.modules()]
    assert nn.BatchNorm2d not in kinds
    assert kinds.count(FusedUpsample) == 2
    assert kinds.count(StridedConv) == 1
    assert not any(parameter.requires_grad for parameter in fast.parameters())
    assert before.keys() == trained.state_dict().keys()
    assert all(torch.equal(value, trained.state_dict()[key]) for key, value in before.items())


@pytest.mark.parametrize("form", ["paper", "same", "native"])
def test_parameters_stay_on_the_networks_device(form: str) -> None:
    fast = for_inference(network("c9s1-4,d6,R6,u4,c9s1-3", form=form).to("meta"))
    assert {tensor.device.type for tensor in fast.state_dict().values()} == {"meta"}
    assert fast(torch.rand(1, 3, 9, 14, device="meta")).shape == (1, 3, 9, 14)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("count", [1, 2])
def test_statistics_and_transform_can_be_captured_in_a_graph(count: int) -> None:
    fast = for_inference(network(norm="thumbnail"), torch.float16).to("cuda")
    small, plane = pictures(count, 40, 40).cuda(), pictures(count, 200, 200).cuda()
    with torch.inference_mode():
        expected = fast.transform(plane, fast.statistics(small))
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            result = fast.transform(plane, fast.statistics(small))
        graph.replay()
    assert (result - expected).abs().max() < 1e-2


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize(("precision", "psnr"), [(torch.float16, 45.0), (torch.bfloat16, 42.0), (torch.float32, 80.0)])
@pytest.mark.parametrize("architecture", [STYLE, UPSCALE_4])
def test_is_the_same_function_on_a_gpu(
    architecture: str, precision: torch.dtype, psnr: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    trained = network(architecture)
    image = torch.rand(1, 3, 61, 83)
    with torch.inference_mode():
        fast = for_inference(trained, precision).to("cuda")(image.to("cuda")).cpu()
        error = (fast - trained(image)).square().mean().clamp_min(1e-12)
    assert -10 * torch.log10(error) > psnr


@pytest.mark.parametrize("value", [torch.inf, -torch.inf, torch.nan])
@pytest.mark.parametrize("output", ["tanh", "linear"])
def test_overflow_before_the_output_map_is_not_hidden_by_it(output: str, value: float) -> None:
    subject = network(output=output)
    last = [module for module in subject.layers.modules() if isinstance(module, nn.Conv2d)][-1]
    assert last.bias is not None
    last.bias.data[2] = value
    with torch.inference_mode():
        assert not torch.isfinite(for_inference(subject).transform(pictures(1, 120, 132))).all()


def test_overflow_of_one_image_is_not_that_of_its_neighbours() -> None:
    images = pictures(3, 120, 132)
    images[1, 0, 55, 70] = torch.inf
    with torch.inference_mode():
        results = for_inference(network()).transform(images)
    assert [bool(torch.isfinite(result).all()) for result in results] == [True, False, True]
