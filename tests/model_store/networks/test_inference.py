import pytest
import torch
from torch import nn

from model_store import STYLE, UPSCALE_4, for_inference
from model_store.networks.inference import BlockedConv, FusedUpsample
from tests.networks import NARROW_STYLE, NARROW_UPSCALE_4, network, pictures

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


@pytest.mark.parametrize("architecture", [STYLE, UPSCALE_4])
def test_is_the_same_function_at_full_width(architecture: str) -> None:
    trained = network(architecture)
    image = torch.rand(1, 3, 37, 50)
    with torch.inference_mode():
        assert (for_inference(trained)(image) - trained(image)).abs().max() < 1e-5


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
    assert kinds.count(BlockedConv) == 1
    assert not any(parameter.requires_grad for parameter in fast.parameters())
    assert before.keys() == trained.state_dict().keys()
    assert all(torch.equal(value, trained.state_dict()[key]) for key, value in before.items())


@pytest.mark.parametrize("form", ["paper", "same", "native"])
def test_what_it_makes_is_on_the_networks_device(form: str) -> None:
    fast = for_inference(network("c9s1-4,d6,R6,u4,c9s1-3", form=form).to("meta"))
    assert {tensor.device.type for tensor in fast.state_dict().values()} == {"meta"}
    assert fast(torch.rand(1, 3, 9, 14, device="meta")).shape == (1, 3, 9, 14)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize(("precision", "psnr"), [(torch.float16, 45.0), (torch.bfloat16, 45.0), (torch.float32, 80.0)])
@pytest.mark.parametrize("architecture", [STYLE, UPSCALE_4])
def test_is_the_same_function_on_a_gpu(architecture: str, precision: torch.dtype, psnr: float) -> None:
    trained = network(architecture)
    image = torch.rand(1, 3, 61, 83)
    with torch.inference_mode():
        fast = for_inference(trained, precision).to("cuda")(image.to("cuda")).cpu()
        error = (fast - trained(image)).square().mean().clamp_min(1e-12)
    assert -10 * torch.log10(error) > psnr
