import pytest
import torch
from torch import Tensor

from trainer.discriminator import PIXELS, Discriminator, adversarial_loss, discriminator_loss

LAYERS = {"relu1_2": 3, "relu2_2": 12}


def seen(image: Tensor) -> dict[str, Tensor]:
    """Features of two layers: the image's channels, again and again."""
    return {layer: image[:, [index % 3 for index in range(channels)]] for layer, channels in LAYERS.items()}


def image(*size: int, seed: int = 0) -> Tensor:
    return torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(seed))


def test_each_head_judges_patches() -> None:
    discriminator = Discriminator(LAYERS)
    assert [*discriminator.heads] == [PIXELS, *LAYERS]
    verdicts = discriminator(image(32, 24), seen(image(32, 24)))
    assert [tuple(verdict.shape) for verdict in verdicts] == [(2, 1, 8, 6), (2, 1, 16, 12), (2, 1, 16, 12)]


def test_the_size_of_features_does_not_matter() -> None:
    discriminator = Discriminator(LAYERS).eval()
    one, other = (discriminator(image(16, 16), {k: v * c for k, v in seen(image(16, 16)).items()}) for c in (1, 50))
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(one, other, strict=True))


def test_a_judged_image_has_a_gradient_and_the_weights_have_none() -> None:
    discriminator, given = Discriminator(LAYERS), image(16, 16).requires_grad_()
    adversarial_loss(discriminator.judge(given, seen(given))).backward()
    assert given.grad is not None
    assert given.grad.abs().sum() > 0
    assert all(weight.grad is None for weight in discriminator.parameters())


def test_losses_are_those_of_the_hinge() -> None:
    found, wanted = [torch.tensor([[-3.0, 0.5]])], [torch.tensor([[0.25, 2.0]])]
    assert discriminator_loss(found, wanted).item() == pytest.approx((0 + 1.5) / 2 + (0.75 + 0) / 2)
    assert adversarial_loss(found).item() == pytest.approx(1.25)
    assert adversarial_loss([*found, torch.tensor([[2.0]])]).item() == pytest.approx((1.25 - 2) / 2)


def test_it_learns_to_tell_blurred_images_from_sharp_ones() -> None:
    torch.manual_seed(0)
    discriminator = Discriminator(LAYERS)
    optimizer = torch.optim.Adam(discriminator.parameters(), lr=3e-3)

    def verdicts(seed: int) -> tuple[list[Tensor], list[Tensor]]:
        sharp = image(32, 32, seed=seed)
        blurred = torch.nn.functional.avg_pool2d(sharp, 3, 1, 1)
        return discriminator(blurred, seen(blurred)), discriminator(sharp, seen(sharp))

    for seed in range(240):
        optimizer.zero_grad()
        discriminator_loss(*verdicts(seed)).backward()
        optimizer.step()
    found, wanted = verdicts(1000)
    assert all(one.mean() < other.mean() - 0.5 for one, other in zip(found, wanted, strict=True))
