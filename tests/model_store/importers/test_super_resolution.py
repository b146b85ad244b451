import sys

import pytest
import torch
from spandrel import ModelLoader
from spandrel.architectures.DRUNet import DRUNet
from spandrel.architectures.FBCNN import FBCNN
from spandrel.architectures.FFTformer import FFTformer
from spandrel.architectures.LaMa import LaMa
from spandrel.architectures.RCAN import RCAN
from spandrel.architectures.SwinIR import SwinIR
from torch import Tensor

from model_store import ImportedSpec
from model_store.errors import MissingExtra, UnknownCheckpoint
from model_store.importers.super_resolution import build_imported, measure_imported
from tests.foreign import compact, esrgan


def original(tensors: dict[str, Tensor], image: Tensor) -> Tensor:
    """What the network's own package makes of an image."""
    output: Tensor = ModelLoader(device="cpu").load_from_state_dict(dict(tensors))(image)
    return output


def test_a_local_network_is_measured() -> None:
    spec = measure_imported(compact(blocks=2)).spec
    assert (spec.package, spec.architecture, spec.scale) == ("spandrel", "Compact", 2)
    assert (spec.tiles, spec.halo, spec.stride) == ("exact", 4, 1)
    assert spec.parameters == sum(tensor.numel() for tensor in compact().values())
    assert spec.values_per_pixel == 24  # the pixel shuffle: 12 values in, and as many out


def test_a_network_that_sees_far_is_said_to_overlap() -> None:
    spec = measure_imported(esrgan(blocks=5)).spec
    assert (spec.architecture, spec.scale, spec.tiles, spec.halo) == ("ESRGAN", 4, "overlapping", 32)


@pytest.mark.parametrize("tensors", [compact(), esrgan()], ids=["Compact", "ESRGAN"])
@pytest.mark.parametrize("size", [(1, 1), (8, 8), (13, 22)])
@torch.inference_mode()
def test_output_is_that_of_the_original(tensors: dict[str, Tensor], size: tuple[int, int]) -> None:
    image = torch.rand(1, 3, *size)
    spec = measure_imported(tensors).spec
    assert torch.equal(build_imported(spec, tensors)(image), original(tensors, image))


@torch.inference_mode()
def test_a_network_that_changes_its_input_changes_no_image() -> None:
    weights = RCAN(scale=2, n_resgroups=1, n_resblocks=1, n_feats=16).state_dict()
    spec = measure_imported(weights).spec
    assert (spec.architecture, spec.tiles) == ("RCAN", "overlapping")
    network, image = build_imported(spec, weights), torch.rand(1, 3, 13, 22)
    expected = original(weights, image.clone())
    assert all(torch.equal(network(image), expected) for _ in range(2))


def test_a_network_that_also_wants_a_mask_is_refused() -> None:
    with pytest.raises(UnknownCheckpoint, match=r"3 channels into 3, ×1, but of a test image .* argument: 'mask'"):
        measure_imported(LaMa(in_nc=4).state_dict())


def test_weights_of_five_dimensions_are_imported() -> None:
    sides = {"dim": 8, "num_blocks": [1, 1, 1], "num_refinement_blocks": 1}
    network = measure_imported(FFTformer(**sides).state_dict())
    assert any(parameter.dim() == 5 for parameter in network.parameters())
    fast = network.for_inference(torch.float32)
    image = torch.rand(1, 3, 13, 22)
    assert torch.allclose(fast(image), network(image), atol=1e-4)


def test_half_precision_weights_are_computed_in_fp32() -> None:
    half = {key: tensor.half() for key, tensor in compact().items()}
    network = build_imported(measure_imported(half).spec, half)
    assert {parameter.dtype for parameter in network.parameters()} == {torch.float32}


@pytest.mark.filterwarnings("ignore:torch.meshgrid")
def test_tiles_of_a_network_with_windows_begin_at_them() -> None:
    network = SwinIR(
        upscale=2, depths=[2], num_heads=[2], embed_dim=8, window_size=8, mlp_ratio=2, upsampler="pixelshuffledirect"
    )
    spec = measure_imported(network.state_dict()).spec
    assert (spec.architecture, spec.tiles, spec.stride) == ("SwinIR", "exact", 8)
    assert 8 < spec.halo < 24  # its windows and its shifted windows, and a convolution on either side


def test_weights_of_another_network_are_refused() -> None:
    spec = measure_imported(compact()).spec
    with pytest.raises(UnknownCheckpoint, match="those of ESRGAN ×4"):
        build_imported(spec, esrgan())


def test_weights_of_no_network_are_refused() -> None:
    with pytest.raises(UnknownCheckpoint, match="spandrel knows no network with these weights: they fit none of its"):
        measure_imported({"weight": torch.ones(2)})


def test_networks_of_other_channels_are_refused() -> None:
    with pytest.raises(
        UnknownCheckpoint, match="4 channels into 4, ×1; networks from RGB to RGB, or from grey to grey"
    ):
        measure_imported(compact(scale=1, channels=4))


@torch.inference_mode()
def test_a_network_may_keep_the_size() -> None:
    image = torch.rand(1, 3, 9, 14)
    spec = measure_imported(compact(scale=1)).spec
    assert (spec.scale, spec.channels, spec.tiles) == (1, 3, "exact")
    assert torch.equal(build_imported(spec, compact(scale=1))(image), original(compact(scale=1), image))


@pytest.mark.parametrize("scale", [1, 2])
@torch.inference_mode()
def test_a_grey_network_gets_the_luma_and_answers_in_grey(scale: int) -> None:
    tensors = compact(scale=scale, channels=1)
    spec = measure_imported(tensors).spec
    assert (spec.scale, spec.channels) == (scale, 1)
    network = build_imported(spec, tensors)
    grey, colours = torch.rand(1, 1, 9, 14), torch.rand(1, 3, 9, 14)
    assert torch.equal(network(grey.expand(-1, 3, -1, -1)), original(tensors, grey).expand(-1, 3, -1, -1))
    weighted = (colours * torch.tensor([0.299, 0.587, 0.114])[:, None, None]).sum(1, keepdim=True)
    assert (network(colours) - original(tensors, weighted)).abs().max() < 1e-6
    with pytest.raises(UnknownCheckpoint, match="for 1 channels"):
        build_imported(spec.model_copy(update={"channels": 3}), tensors)


@torch.inference_mode()
def test_a_network_that_reduces_images_inside_is_aligned_and_takes_batches() -> None:
    """DRUNet, to which spandrel adds a map of noise for a single image."""
    torch.manual_seed(0)
    tensors = DRUNet(in_nc=4, out_nc=3, nc=[4, 4, 4, 4], nb=4, act_mode="R").state_dict()
    spec = measure_imported(tensors).spec
    assert (spec.architecture, spec.scale, spec.stride) == ("DRUNet", 1, 8)
    images = torch.rand(2, 3, 13, 22)
    expected = torch.cat([original(tensors, image) for image in images.split(1)])
    assert torch.equal(build_imported(spec, tensors)(images), expected)


@torch.inference_mode()
def test_a_network_that_also_judges_the_image_answers_with_the_picture_alone() -> None:
    """FBCNN, which estimates the quality of a JPEG."""
    torch.manual_seed(0)
    tensors = FBCNN(nc=[4, 4, 4, 512], nb=2, act_mode="R").state_dict()
    parameters = sum(tensor.numel() for tensor in tensors.values())
    facts = {"tiles": "overlapping", "halo": 32, "stride": 8, "values_per_pixel": 16, "half_precision": True}
    spec = ImportedSpec.model_validate(
        {"package": "spandrel", "architecture": "FBCNN", "scale": 1, "parameters": parameters} | facts
    )
    image = torch.rand(1, 3, 13, 22)
    assert torch.equal(build_imported(spec, tensors)(image), original(tensors, image))


def test_without_spandrel_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "spandrel", None)
    with pytest.raises(MissingExtra, match=r"pip install 'pastiche\[import\]'"):
        measure_imported(compact())
