import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from torch import nn

from model_store import STYLE, UPSCALE_4, UPSCALE_8, NetworkSpec, TransformNetwork
from model_store.networks.layers import reflect
from tests.networks import NARROW_STYLE, NARROW_UPSCALE_4, in_form, network


@pytest.mark.parametrize(
    ("architecture", "parameters"), [(STYLE, 1_679_235), (UPSCALE_4, 401_859), (UPSCALE_8, 438_915)]
)
def test_parameter_counts_of_the_paper(architecture: str, parameters: int) -> None:
    built = TransformNetwork(NetworkSpec(architecture=architecture, form="paper"))
    assert sum(parameter.numel() for parameter in built.parameters()) == parameters


def shapes(built: TransformNetwork, side: int) -> list[tuple[int, int]]:
    """(channels, side) after each layer for a square image, beginning with the padded image."""
    found: list[tuple[int, int]] = []

    def record(_: nn.Module, inputs: tuple[torch.Tensor], output: torch.Tensor) -> None:
        found.append((output.shape[1], output.shape[3]))

    for layer in built.layers:
        layer.register_forward_hook(record)
    with torch.inference_mode():
        built.eval()(torch.rand(1, 3, side, side))
    return [(3, side + sum(built.margins(side))), *found]


def test_shapes_of_the_papers_style_network() -> None:
    residual = [(128, 80), (128, 76), (128, 72), (128, 68), (128, 64)]
    assert shapes(TransformNetwork(NetworkSpec(architecture=STYLE, form="paper")), 256) == [
        (3, 336), (32, 336), (64, 168), (128, 84), *residual, (64, 128), (32, 256), (3, 256),
    ]  # fmt: skip


def test_shapes_of_the_papers_upscaling_networks() -> None:
    assert shapes(TransformNetwork(NetworkSpec(architecture=UPSCALE_4, form="paper")), 72) == [
        (3, 72), *[(64, 72)] * 5, (64, 144), (64, 288), (3, 288),
    ]  # fmt: skip
    assert shapes(TransformNetwork(NetworkSpec(architecture=UPSCALE_8, form="paper")), 36) == [
        (3, 36), *[(64, 36)] * 5, (64, 72), (64, 144), (64, 288), (3, 288),
    ]  # fmt: skip


@pytest.mark.parametrize("form", ["paper", "same", "native"])
@pytest.mark.parametrize(
    ("architecture", "norm", "skip"),
    [
        (NARROW_STYLE, "batch", False),
        (NARROW_STYLE, "instance", False),
        (NARROW_STYLE, "batch", True),
        (NARROW_UPSCALE_4, "none", False),
        ("c3s1-6,R6*2,c3s1-27,p3", "none", True),
    ],
)
@pytest.mark.parametrize("side", [(1, 1), (1, 9), (2, 1), (3, 5), (17, 8)])
def test_every_size_gives_scale_times_the_side(
    form: str, architecture: str, norm: str, skip: bool, side: tuple[int, int]
) -> None:
    built = network(architecture, norm, form, skip=skip)
    image = torch.rand(2, 3, *side)
    before = image.clone()
    with torch.inference_mode():
        result = built(image)
    assert result.shape == (2, 3, side[0] * built.scale, side[1] * built.scale)
    assert result.dtype == torch.float32
    assert result.min() >= 0
    assert result.max() <= 1
    assert torch.equal(image, before)


@pytest.mark.parametrize("more", [0, 1, 2, 3])
@pytest.mark.parametrize(
    ("architecture", "norm", "skip", "halo"),
    [
        (NARROW_STYLE, "batch", False, 55),
        (NARROW_UPSCALE_4, "none", False, 14),
        ("c3s1-9,R9,c3s1-12,p2", "none", True, 4),
    ],
)
def test_native_equals_the_interior_of_same(architecture: str, norm: str, skip: bool, halo: int, more: int) -> None:
    native = network(architecture, norm, skip=skip)
    image = torch.rand(1, 3, 128 + more, 128 + (more + 1) % 4)
    with torch.inference_mode():
        difference = (native(image) - in_form(native, "same")(image)).abs()
    border = halo * native.scale
    interior = difference[..., border:-border, border:-border]
    assert interior.numel() > 0
    assert interior.max() < 1e-5
    assert difference.max() > 1e-4  # the borders do differ, so the comparison can fail


@settings(max_examples=25, deadline=None)
@given(data=st.data())
@pytest.mark.parametrize(
    ("architecture", "skip"),
    [
        (NARROW_STYLE, False),
        ("c3s3-36,p2,c3s3-81,p3,c3s1-27,p3,c3s1-3", False),
        ("c3s1-6,R6,c3s1-48,p4", True),
        ("c1s1-12,p2", True),  # the bicubic reaches further than the layers
        ("c3s1-12,p2", True),
        ("c3s1-48,p4", True),
    ],
)
def test_a_tile_of_the_plane_gives_its_part_of_the_result(architecture: str, skip: bool, data: st.DataObject) -> None:
    native = network(architecture, skip=skip)
    geometry, scale = native.geometry, native.scale
    height, width = data.draw(st.integers(1, 150)), data.draw(st.integers(1, 150))
    top = geometry.stride * data.draw(st.integers(0, (height - 1) // geometry.stride))
    left = geometry.stride * data.draw(st.integers(0, (width - 1) // geometry.stride))
    rows, columns = data.draw(st.integers(1, height - top)), data.draw(st.integers(1, width - left))
    image = torch.rand(1, 3, height, width)
    plane = reflect(image, *geometry.margins(width), *geometry.margins(height))
    tile = plane[..., top : top + geometry.plane(rows), left : left + geometry.plane(columns)]
    with torch.inference_mode():
        whole = native.transform(plane)[..., top * scale :, left * scale :]
        part = native.transform(tile)
    area = (..., slice(rows * scale), slice(columns * scale))
    assert (part[area] - whole[area]).abs().max() < 1e-5


@pytest.mark.parametrize("output", ["tanh", "linear"])
def test_a_skip_connection_adds_nothing_where_the_layers_give_nothing(output: str) -> None:
    built = network("c3s1-4,c3s1-3", norm="none", output=output, skip=True)
    for parameter in built.parameters():
        parameter.data.zero_()
    image = torch.rand(1, 3, 8, 8)
    assert torch.equal(built(image), image)


def test_only_training_leaves_the_range() -> None:
    built = network("c3s1-4,c3s1-3", norm="none", output="linear")
    built.state_dict()["layers.1.conv.bias"].fill_(3.0)
    image = torch.rand(1, 3, 8, 8)
    assert built(image).max() == 1
    assert built.train()(image).max() > 1


@pytest.mark.parametrize(
    ("norm", "form", "tileable"),
    [("batch", "native", True), ("none", "native", True), ("instance", "native", False), ("batch", "same", False)],
)
def test_only_local_networks_are_tileable(norm: str, form: str, tileable: bool) -> None:
    assert network(norm=norm, form=form).spec.tileable == tileable


def test_the_spec_is_canonical_and_strict() -> None:
    assert NetworkSpec(architecture="c3s1-8,R8,R8,c3s1-3").architecture == "c3s1-8,R8*2,c3s1-3"
    with pytest.raises(ValidationError, match="is no layer"):
        NetworkSpec(architecture="nonsense")
    with pytest.raises(ValidationError, match="between pixels"):
        NetworkSpec(architecture="c3s1-12,p2,c3s2-3")
