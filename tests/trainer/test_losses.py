import pytest
import torch

from trainer.losses import (
    StyleObjective,
    feature_reconstruction,
    gram_matrix,
    perceptual_distance,
    repeated_error,
    style_reconstruction,
    texture_loss,
    total_variation,
)


def test_feature_reconstruction_is_equation_2() -> None:
    one, other = torch.rand(2, 3, 4, 5), torch.rand(2, 3, 4, 5)
    per_image = [torch.linalg.vector_norm(a - b) ** 2 / (3 * 4 * 5) for a, b in zip(one, other, strict=True)]
    assert torch.isclose(feature_reconstruction(one, other), sum(per_image, torch.zeros(())) / 2)


def test_gram_matrix_is_equation_3() -> None:
    features = torch.rand(2, 3, 4, 5)
    gram = gram_matrix(features)
    assert gram.shape == (2, 3, 3)
    expected = sum(features[1, 0, h, w] * features[1, 2, h, w] for h in range(4) for w in range(5)) / (3 * 4 * 5)
    assert torch.isclose(gram[1, 0, 2], torch.as_tensor(expected))


def test_style_reconstruction_is_equation_4_and_sums_over_entries() -> None:
    features, target = torch.rand(2, 3, 4, 5), torch.rand(1, 3, 3)
    expected = torch.stack([torch.linalg.matrix_norm(gram - target[0]) ** 2 for gram in gram_matrix(features)]).mean()
    assert torch.isclose(style_reconstruction(features, target), expected)


def test_parts_of_one_image_are_judged_together_by_their_pooled_gram_matrix() -> None:
    image = torch.rand(1, 3, 8, 8)
    parts = torch.cat([image[..., :4], image[..., 4:]])
    target = gram_matrix(image)
    assert style_reconstruction(parts, target, pooled=True).item() == pytest.approx(0, abs=1e-12)
    assert style_reconstruction(parts, target).item() > 1e-5


def test_gram_matrices_ignore_where_things_are() -> None:
    features = torch.rand(1, 3, 4, 5)
    shuffled = features.flatten(2)[..., torch.randperm(20)].unflatten(2, (4, 5))
    assert torch.allclose(gram_matrix(features), gram_matrix(shuffled))


def test_gram_matrices_of_half_precision_do_not_overflow() -> None:
    features = torch.full((1, 2, 64, 64), 300.0, dtype=torch.float16)
    gram = gram_matrix(features)
    assert gram.dtype == torch.float32
    assert torch.allclose(gram, torch.full((1, 2, 2), 45_000.0))


def test_total_variation_sums_squared_differences() -> None:
    image = torch.tensor([[0.0, 1.0], [3.0, 7.0]]).expand(2, 1, 2, 2)
    assert total_variation(image) == 1 + 16 + 9 + 36
    assert total_variation(torch.full((1, 3, 5, 5), 0.4)) == 0


def objective(painting: dict[str, torch.Tensor]) -> StyleObjective:
    return StyleObjective(
        painting, "deep", {"deep": 1.0, "shallow": 3.0}, content_weight=2.0, style_weight=5.0, tv_weight=0.5
    )


def painted(scale: float = 1.0) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return {layer: scale * torch.rand(1, 3, 8, 8, generator=generator) for layer in ("deep", "shallow")}


def test_the_painting_itself_has_no_style_loss() -> None:
    features = painted()
    terms = objective(features)(torch.rand(1, 3, 8, 8), features, features["deep"])
    assert terms["style_deep"] == terms["style_shallow"] == terms["content"] == 0
    assert terms["tv"] > 0


def test_total_variation_counts_per_value() -> None:
    features = painted()
    image = torch.zeros(1, 3, 8, 8)
    image[..., 4:] = 1.0  # one step in each of 8 rows of 3 channels
    assert objective(features)(image, features, features["deep"])["tv"] == pytest.approx(0.5 * 24 / 192)


def test_without_centring_the_style_loss_is_the_papers() -> None:
    painting, features = painted(), painted(0.7)
    plain = StyleObjective(
        painting, "deep", {"deep": 1.0}, content_weight=1, style_weight=1, tv_weight=0, centred=False
    )
    gram = gram_matrix(painting["deep"])
    expected = style_reconstruction(features["deep"], gram) / torch.linalg.matrix_norm(gram) ** 2
    assert torch.isclose(plain(torch.zeros(1, 3, 8, 8), features, painting["deep"])["style_deep"], expected)


def test_a_featureless_image_has_terms_of_its_weights() -> None:
    painting = painted()
    flat = {layer: value.mean(dim=(2, 3), keepdim=True).expand_as(value) for layer, value in painting.items()}
    terms = objective(painting)(torch.zeros(1, 3, 8, 8), flat, painting["deep"])
    assert terms["style_deep"].item() == pytest.approx(5.0 * 1 / 4)
    assert terms["style_shallow"].item() == pytest.approx(5.0 * 3 / 4)
    assert terms["content"].item() == pytest.approx(2.0)


def test_other_mean_features_are_another_style() -> None:
    painting = painted()
    brighter = {layer: value + 0.5 for layer, value in painting.items()}
    assert objective(painting)(torch.zeros(1, 3, 8, 8), brighter, painting["deep"])["style_deep"] > 0.1


def test_the_objective_does_not_depend_on_the_scale_of_the_loss_network() -> None:
    image = torch.rand(1, 3, 8, 8)
    features = {layer: torch.rand(1, 3, 8, 8) for layer in ("deep", "shallow")}
    content = torch.rand(1, 3, 8, 8)
    small = objective(painted())(image, features, content)
    scaled = {layer: 255 * value for layer, value in features.items()}
    large = objective(painted(255.0))(image, scaled, 255 * content)
    assert small.keys() == large.keys()
    for name, term in small.items():
        assert torch.isclose(term, large[name], rtol=1e-4)


def test_perceptual_distance_compares_directions_of_features() -> None:
    features = torch.rand(2, 5, 6, 7) + 0.1
    brightness = torch.rand(2, 1, 6, 7) + 0.1
    assert perceptual_distance([(features, features * brightness)]).item() == pytest.approx(0, abs=1e-9)
    one, other = torch.zeros(1, 2, 3, 3), torch.zeros(1, 2, 3, 3)
    one[:, 0], other[:, 1] = 4, 7
    assert perceptual_distance([(one, other)]).item() == pytest.approx(2)  # orthogonal
    assert perceptual_distance([(one, other), (one, one)]).item() == pytest.approx(1)  # the mean of two layers
    assert perceptual_distance([(one, one + other)]).item() == pytest.approx(2 - 8 / 65**0.5, rel=1e-5)


def test_perceptual_distance_is_finite_where_nothing_is_seen() -> None:
    black = torch.zeros(1, 2, 3, 3, requires_grad=True)
    distance = perceptual_distance([(black, torch.zeros(1, 2, 3, 3))])
    distance.backward()
    assert distance.item() == 0
    assert black.grad is not None
    assert torch.isfinite(black.grad).all()


def test_texture_loss_compares_gram_matrices_of_patches() -> None:
    target = torch.rand(2, 5, 17, 16)
    patch = target[..., :8, :8]
    moved = target.clone()
    moved[..., :8, :8] = patch.flip(2).transpose(2, 3)  # the same Gram matrix
    moved[..., 16, :] = 9  # an incomplete patch
    assert texture_loss(moved, target).item() == pytest.approx(0, abs=1e-9)
    assert texture_loss(target.roll(8, dims=2)[..., :16, :], target[..., :16, :]).item() > 1e-3
    assert texture_loss(torch.zeros_like(target), target).item() == pytest.approx(1)


def weave(period: int, *size: int) -> torch.Tensor:
    """A random pattern of mean 0 and variance 1 that repeats with a period."""
    tile = torch.randn(1, 3, period, period, generator=torch.Generator().manual_seed(0))
    tile = (tile - tile.mean(dim=(2, 3), keepdim=True)) / tile.std(dim=(2, 3), correction=0, keepdim=True)
    return tile.repeat(1, 1, size[0] // period, size[1] // period)


def test_an_error_that_repeats_counts_its_square() -> None:
    wanted = torch.rand(1, 3, 64, 48)
    assert repeated_error(wanted, wanted, 4).item() == 0
    assert repeated_error(wanted + 0.1 * weave(4, 64, 48), wanted, 4).item() == pytest.approx(0.01, rel=1e-4)
    assert repeated_error(wanted + 0.1 * weave(2, 64, 48), wanted, 4).item() == pytest.approx(0.01, rel=1e-4)
    assert repeated_error(wanted + 0.1 * weave(2, 64, 48), wanted, 8).item() == pytest.approx(0.01, rel=1e-4)
    cut = (slice(None), slice(None), slice(62), slice(45))
    whole = repeated_error((wanted + 0.1 * weave(4, 64, 48))[cut], wanted[cut], 4).item()
    assert whole == pytest.approx(0.01, rel=1e-4)
    assert repeated_error(wanted + 0.3, wanted, 16).item() == 0  # too few periods
    assert repeated_error(wanted + 0.3, wanted, 4).item() == pytest.approx(0, abs=1e-9)  # a shift of colour


def test_an_error_that_changes_from_place_to_place_counts_there() -> None:
    changing = weave(4, 64, 64) * torch.cat([torch.ones(64, 32), -torch.ones(64, 32)], dim=1)
    wanted = torch.rand(1, 3, 64, 64)
    assert repeated_error(wanted + 0.1 * changing, wanted, 4).item() > 0.8 * 0.01
    local = torch.zeros(64, 64)
    local[16:48, 16:48] = 1
    assert repeated_error(wanted + 0.1 * weave(4, 64, 64) * local, wanted, 4).item() > 0.8 * 0.01 / 4


def test_an_irregular_error_counts_little() -> None:
    noise = torch.randn(1, 3, 256, 256, generator=torch.Generator().manual_seed(0))
    assert repeated_error(0.1 * noise, torch.zeros_like(noise), 4).item() == pytest.approx(0.01 / 16, rel=0.1)
    other = weave(8, 256, 256) - weave(4, 256, 256)
    whole = repeated_error(weave(8, 256, 256), torch.zeros_like(noise), 8).item()
    assert repeated_error(other, torch.zeros_like(noise), 8).item() > 0
    assert whole == pytest.approx(1, rel=1e-4)
