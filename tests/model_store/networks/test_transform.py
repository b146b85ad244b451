import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from torch import nn
from torch.nn import functional as F

from model_store import (
    SHIPPED_STORE,
    STYLE,
    UPSCALE_4,
    UPSCALE_8,
    ModelStore,
    NetworkSpec,
    TransformNetwork,
    area_reduced,
    for_inference,
)
from model_store.golden import as_batch, pattern
from model_store.networks.layers import TransformLayer, reflect
from model_store.networks.noise import NOISE_PERIOD
from tests.networks import NARROW_STYLE, NARROW_UPSCALE_4, in_form, network, own, pictures


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
    return [(3, side + sum(built.halos(side))), *found]


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
    check_size(network(architecture, norm, form, skip=skip), side)


@pytest.mark.parametrize("form", ["same", "native"])
@pytest.mark.parametrize("side", [(1, 1), (1, 9), (2, 1), (3, 5), (17, 8), (1, 200)])
def test_every_size_has_a_thumbnail(form: str, side: tuple[int, int]) -> None:
    check_size(network(NARROW_STYLE, "thumbnail", form, skip=True, thumbnail=16), side)


def check_size(built: TransformNetwork, side: tuple[int, int]) -> None:
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
@pytest.mark.parametrize("noise_channels", [0, 2])
def test_native_equals_the_interior_of_same(
    architecture: str, norm: str, skip: bool, halo: int, more: int, noise_channels: int
) -> None:
    native = network(architecture, norm, skip=skip, noise_channels=noise_channels)
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
    plane = reflect(image, *geometry.halos(width), *geometry.halos(height))
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


@pytest.mark.parametrize("form", ["native", "same", "paper"])
def test_noise_is_detail_that_repeats_after_its_period(form: str) -> None:
    built = network("c3s1-6,R6,c3s1-48,p4", "none", form, skip=True, noise_channels=2)
    with torch.inference_mode():
        detail = built(torch.full((2, 3, 80, 80), 0.5))
    side, period = detail.shape[-1], NOISE_PERIOD * built.scale
    inside = detail[..., side // 4 : side // 2, side // 4 : side // 2]
    again = detail[..., side // 4 + period : side // 2 + period, side // 4 : side // 2]
    assert torch.equal(detail[0], detail[1])
    assert inside.std() > 0.01
    torch.testing.assert_close(again, inside, rtol=0, atol=1e-5)
    other = detail[..., side // 4 + 5 * built.scale : side // 2 + 5 * built.scale, side // 4 : side // 2]
    assert (other - inside).abs().max() > 0.01


def test_noise_is_that_of_every_network_and_of_every_run() -> None:
    torch.manual_seed(7)
    one, other = (network("c3s1-6,c3s1-12,p2", "none", seed=seed, noise_channels=2) for seed in (0, 1))
    plane = torch.rand(1, 3, 40, 50)
    assert torch.equal(one.own_noise(plane), other.own_noise(plane))
    assert not any("noise" in key for key in one.state_dict())


def test_other_noise_is_taken_where_it_is_given() -> None:
    built = network("c3s1-6,R6,c3s1-12,p2", "none", "same", noise_channels=2)
    image, noise = torch.rand(2, 3, 20, 30), torch.randn(2, 2, 20, 30)
    with torch.inference_mode():
        changed = built(image, noise=noise)
        assert (changed - built(image)).abs().max() > 0.01
        torch.testing.assert_close(built(image, noise=built.own_noise(image)), built(image))


def test_only_training_leaves_the_range() -> None:
    built = network("c3s1-4,c3s1-3", norm="none", output="linear")
    built.state_dict()["layers.1.conv.bias"].fill_(3.0)
    image = torch.rand(1, 3, 8, 8)
    assert built(image).max() == 1
    assert built.train()(image).max() > 1


@pytest.mark.parametrize(
    ("norm", "form", "tileable"),
    [
        ("batch", "native", True),
        ("none", "native", True),
        ("thumbnail", "native", True),
        ("instance", "native", False),
        ("batch", "same", False),
        ("thumbnail", "same", False),
    ],
)
def test_only_local_networks_are_tileable(norm: str, form: str, tileable: bool) -> None:
    assert network(norm=norm, form=form).spec.tileable == tileable


def test_the_spec_is_canonical_and_strict() -> None:
    assert NetworkSpec(architecture="c3s1-8,R8,R8,c3s1-3").architecture == "c3s1-8,R8*2,c3s1-3"
    with pytest.raises(ValidationError, match="is no layer"):
        NetworkSpec(architecture="nonsense")
    with pytest.raises(ValidationError, match="between pixels"):
        NetworkSpec(architecture="c3s1-12,p2,c3s2-3")
    with pytest.raises(ValidationError, match="native and same, not paper"):
        NetworkSpec(architecture="c3s1-3", norm="thumbnail", form="paper")
    with pytest.raises(ValidationError, match="noise channels are for a convolution as the first layer; R3,c3s1-3 has"):
        NetworkSpec(architecture="R3,c3s1-3", noise_channels=1)


def with_norm(original: TransformNetwork, norm: str) -> TransformNetwork:
    """The same weights with another normalisation of the same parameters, in the *same* form."""
    spec = original.spec.model_dump() | {"norm": norm, "form": "same"}
    other = TransformNetwork(NetworkSpec.model_validate(spec))
    other.load_state_dict(original.state_dict())
    return other.eval()


THUMBNAIL_ARCHITECTURES = [
    (NARROW_STYLE, False),
    (NARROW_STYLE, True),
    (NARROW_UPSCALE_4, False),
    ("c3s1-9,R9,c3s1-12,p2", True),
    ("c3s1-12,p2,c5s1-3,c3s1-3", False),
]


@pytest.mark.parametrize(("architecture", "skip"), THUMBNAIL_ARCHITECTURES)
@pytest.mark.parametrize("training", [False, True])
def test_thumbnail_normalisation_of_a_small_image_equals_instance_normalisation(
    architecture: str, skip: bool, training: bool
) -> None:
    thumbnail = network(architecture, "thumbnail", "same", skip=skip).train(training)
    instance = with_norm(thumbnail, "instance").train(training)
    image = pictures(2, 61, 83)
    with torch.no_grad():
        one, two = thumbnail(image), thumbnail.transform(image, thumbnail.statistics(image))
        two = two[..., : one.shape[2], : one.shape[3]]
        assert (one - instance(image)).abs().max() < 1e-5
        assert (two.clamp(0, 1) - one.clamp(0, 1)).abs().max() < 1e-5


def test_statistics_pass_gradients_on_as_instance_normalisation_does() -> None:
    thumbnail = network("c3s1-4,d6,R6,u4,c3s1-3", "thumbnail", "same").train()
    instance = with_norm(thumbnail, "instance").train()
    image, target = pictures(2, 24, 32), torch.rand(2, 3, 24, 32)
    results = thumbnail.transform(image, thumbnail.statistics(image)), instance(image)
    for result in results:
        (result - target).square().sum().backward()
    gradients = [
        torch.cat([parameter.grad.flatten() for parameter in built.parameters() if parameter.grad is not None])
        for built in (thumbnail, instance)
    ]
    assert gradients[0].numel() == sum(parameter.numel() for parameter in thumbnail.parameters())
    assert (gradients[0] - gradients[1]).abs().max() < 1e-5 * gradients[1].abs().max()


@pytest.mark.parametrize("form", ["native", "same"])
def test_large_images_take_the_statistics_of_their_thumbnail(form: str) -> None:
    built = network(norm="thumbnail", form=form, thumbnail=32)
    image = pictures(2, 90, 120)
    small = area_reduced(image, 32)
    assert small.shape == (2, 3, 24, 32)
    plane = reflect(image, *built.halos(120), *built.halos(90))
    with torch.inference_mode():
        expected = built.transform(plane, built.statistics(small)).clamp(0, 1)[..., :90, :120]
        own = built.transform(plane, built.statistics(image)).clamp(0, 1)[..., :90, :120]
        assert torch.equal(built(image), expected)
    assert (own - expected).abs().max() > 0.01  # the comparison can fail


@pytest.mark.parametrize("form", ["native", "same"])
@pytest.mark.parametrize("side", [(24, 24), (9, 40), (40, 300), (300, 40), (100, 700)])
def test_small_and_elongated_images_take_the_statistics_of_their_thumbnail(form: str, side: tuple[int, int]) -> None:
    built = network(norm="thumbnail", form=form)
    image = pictures(2, *side)
    small = area_reduced(image, 256)
    assert min(small.shape[2:]) >= 61
    plane = reflect(image, *built.halos(side[1]), *built.halos(side[0]))
    with torch.inference_mode():
        expected = built.transform(plane, built.statistics(small)).clamp(0, 1)[..., : side[0], : side[1]]
        assert torch.equal(built(image), expected)


def saturation(image: torch.Tensor) -> float:
    """The share of values that are 0 or 255 in 8 bits."""
    levels = (image * 255).round()
    return ((levels == 0) | (levels == 255)).float().mean().item()


SHIPPED_STYLES = ["great-wave", "starry-night", "the-scream", "udnie", "olive-trees"]


@pytest.mark.parametrize("style", SHIPPED_STYLES)
@pytest.mark.parametrize("side", [8, 16, 24, 32, 48])
def test_icon_becomes_a_painting(style: str, side: int) -> None:
    built = own(ModelStore(SHIPPED_STORE).load(style).network)
    icon = area_reduced(as_batch(pattern(192, 192)), side)
    with torch.inference_mode():
        painting = built(icon)
    assert saturation(painting) < 0.1
    assert painting.std((2, 3)).mean() > 0.03  # not one flat colour


@pytest.mark.parametrize("style", SHIPPED_STYLES)
@pytest.mark.parametrize(("height", "aspect", "upright"), [(96, 20, False), (96, 40, True), (128, 100, False)])
def test_strip_looks_as_a_square_of_it_does(style: str, height: int, aspect: int, upright: bool) -> None:
    built = own(ModelStore(SHIPPED_STORE).load(style).network)
    part = as_batch(pattern(height, height))
    strip = torch.cat([part, part.flip(2 if upright else 3)] * (aspect // 2), dim=2 if upright else 3)
    with torch.inference_mode():
        alone, within = built(part), built(part, built.statistics(area_reduced(strip, built.spec.thumbnail)))
    assert saturation(within) < saturation(alone) + 0.1  # of photographs 0.01 more at the mean
    assert (within.mean((2, 3)) - alone.mean((2, 3))).abs().max() < 0.15
    assert (within.std((2, 3)) / alone.std((2, 3))).log().abs().max() < 0.5


@pytest.mark.parametrize("style", SHIPPED_STYLES)
def test_pictures_of_one_colour_get_one_that_rounding_does_not_decide(style: str) -> None:
    trained = ModelStore(SHIPPED_STORE).load(style).network.eval()
    fast = for_inference(trained)
    checks = (torch.arange(64)[:, None] + torch.arange(64)).remainder(2).expand(1, 3, 64, 64).float()
    flat = [torch.ones(1, 3, 64, 64), torch.full((1, 3, 24, 24), 0.3), torch.full((1, 3, 1, 1), 0.3), checks]
    with torch.inference_mode():
        for image in (*flat, as_batch(pattern(2, 2)), as_batch(pattern(3, 3))):
            painting = trained(image)
            assert (painting - fast(image)).abs().max() < 1e-3
            assert saturation(painting) < 0.5  # one of three channels at most is at an end


@pytest.mark.parametrize("style", SHIPPED_STYLES)
@pytest.mark.parametrize("size", [(16, 640), (640, 24), (40, 1000), (60, 300)])
def test_narrow_strip_becomes_a_painting(style: str, size: tuple[int, int]) -> None:
    built = own(ModelStore(SHIPPED_STORE).load(style).network)
    with torch.inference_mode():
        painting = built(as_batch(pattern(*size)))
    assert saturation(painting) < 0.1
    assert painting.std((2, 3)).mean() > 0.03


@pytest.mark.parametrize(("architecture", "skip"), THUMBNAIL_ARCHITECTURES)
def test_statistics_are_those_of_the_same_form(architecture: str, skip: bool) -> None:
    native = network(architecture, "thumbnail", skip=skip)
    small = pictures(2, 30, 41)
    with torch.inference_mode():
        statistics = native.statistics(small)
        assert torch.equal(statistics, in_form(native, "same").statistics(small))
    layers = [layer for layer in native.layers if isinstance(layer, TransformLayer)]
    assert statistics.shape == (2, 2, sum(layer.channels for layer in layers))
    assert statistics.dtype == torch.float32


def test_statistics_normalise_the_convolution() -> None:
    built = network("c3s1-4,c3s1-3", "thumbnail", "same")
    small = pictures(1, 20, 30)
    weight, bias = (built.state_dict()[f"layers.0.conv.{name}"] for name in ("weight", "bias"))
    convolution = F.conv2d(F.pad(small * 2 - 1, (1, 1, 1, 1), mode="reflect"), weight, bias)
    with torch.inference_mode():
        scale, shift = built.statistics(small)[0, :, :, None, None]
    normalised = scale * convolution[0] + shift
    norm = built.state_dict()
    assert torch.allclose(normalised.mean((1, 2)), norm["layers.0.norm.bias"], atol=1e-5)
    assert torch.allclose(normalised.std((1, 2), correction=0), norm["layers.0.norm.weight"], atol=1e-3)


@settings(max_examples=10, deadline=None)
@given(data=st.data())
@pytest.mark.parametrize(("architecture", "skip"), THUMBNAIL_ARCHITECTURES)
def test_tiles_with_the_images_statistics_make_the_whole(architecture: str, skip: bool, data: st.DataObject) -> None:
    native = network(architecture, "thumbnail", skip=skip, thumbnail=48)
    geometry, scale = native.geometry, native.scale
    height, width = data.draw(st.integers(49, 150)), data.draw(st.integers(49, 150))
    top = geometry.stride * data.draw(st.integers(0, (height - 1) // geometry.stride))
    left = geometry.stride * data.draw(st.integers(0, (width - 1) // geometry.stride))
    rows, columns = data.draw(st.integers(1, height - top)), data.draw(st.integers(1, width - left))
    image = pictures(1, height, width)
    plane = reflect(image, *geometry.halos(width), *geometry.halos(height))
    tile = plane[..., top : top + geometry.plane(rows), left : left + geometry.plane(columns)]
    with torch.inference_mode():
        whole = native(image)[..., top * scale : (top + rows) * scale, left * scale : (left + columns) * scale]
        part = native.transform(tile, native.statistics(area_reduced(image, 48))).clamp(0, 1)
    assert (part[..., : rows * scale, : columns * scale] - whole).abs().max() < 1e-5


@pytest.mark.parametrize("form", ["native", "same"])
def test_each_image_of_a_batch_has_its_own_statistics(form: str) -> None:
    built = network(norm="thumbnail", form=form, thumbnail=32)
    images = torch.cat([pictures(1, 130, 140), 1 - 0.5 * pictures(1, 130, 140)])
    with torch.inference_mode():
        statistics = built.statistics(area_reduced(images, 32))
        together = built.transform(images, statistics)
        alone = [built.transform(images[i : i + 1], statistics[i : i + 1]) for i in range(2)]
        assert (together - torch.cat(alone)).abs().max() < 1e-5
        assert (built(images) - torch.cat([built(image[None]) for image in images])).abs().max() < 1e-4
    assert (statistics[0] - statistics[1]).abs().max() > 0.1


@pytest.mark.parametrize("form", ["native", "same"])
def test_one_image_may_give_the_statistics_of_a_whole_batch(form: str) -> None:
    built = network(norm="thumbnail", form=form)
    images, statistics = pictures(2, 130, 140), built.statistics(pictures(1, 20, 30))
    with torch.inference_mode():
        shared = built.transform(images, statistics)
        each = built.transform(images, statistics.expand(2, -1, -1))
    assert (shared - each).abs().max() < 1e-5


def test_statistics_are_required_where_they_are_needed() -> None:
    built = network(norm="thumbnail")
    assert built.needs_statistics
    with pytest.raises(ValueError, match="takes the statistics"):
        built.transform(torch.rand(1, 3, 150, 150))
    for norm in ("batch", "instance", "none"):
        other = network(norm=norm)
        assert not other.needs_statistics
        assert other.statistics(torch.rand(2, 3, 9, 9)).shape == (2, 2, 0)


@pytest.mark.parametrize(("side", "valid"), [(15, False), (16, True), (1024, True), (1025, False)])
def test_the_size_of_the_thumbnail_is_bounded(side: int, valid: bool) -> None:
    if valid:
        assert NetworkSpec(architecture="c3s1-3", thumbnail=side).thumbnail == side
    else:
        with pytest.raises(ValidationError, match="thumbnail"):
            NetworkSpec(architecture="c3s1-3", thumbnail=side)


def test_a_transposed_convolution_has_no_native_form() -> None:
    with pytest.raises(ValidationError, match=r"t64.* has no native form"):
        NetworkSpec(architecture="d4,t4,c3s1-3")
    assert not NetworkSpec(architecture="d4,t4,c3s1-3", form="same").tileable


@torch.inference_mode()
def test_zeros_around_an_image_are_the_colour_that_is_zero_to_the_layers() -> None:
    colour = (0.2, 0.4, 0.6)
    spec = NetworkSpec(architecture="c3s1-3", norm="none", form="tensorflow", output="linear", input_zero=colour)
    subject = TransformNetwork(spec).eval()
    image = torch.tensor(colour)[None, :, None, None].expand(1, 3, 5, 7)
    assert (subject(image) - subject(image)[..., 2:3, 2:3]).abs().max() < 1e-6
