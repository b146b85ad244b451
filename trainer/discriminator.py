"""A discriminator: a network that learns to tell another network's images from those that are wanted.

It judges patches (Isola et al. 2017, PatchGAN) of the pixels and of the loss network's features, of each layer by a
head of its own: with features of a trained network it takes far fewer images (Sauer et al. 2021, Projected GANs).
Weights of the layers between the first and the last are divided by their spectral norm (Miyato et al. 2018): the last
may be as sure as it can.
"""

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm

from trainer.losses import LEAST_NORM

PIXELS = "pixels"
"""The name of the head that sees the image itself."""

WIDEST = 64
"""Channels of the widest layers of a head."""

SLOPE = 0.2
"""Of the leaky ReLUs below zero."""


class Discriminator(nn.Module):
    """Maps an image and its features by layer to a verdict on each patch: above zero for wanted ones."""

    def __init__(self, channels: Mapping[str, int]) -> None:
        """`channels`: of the features of each layer."""
        super().__init__()
        heads = {PIXELS: _pixel_head()} | {layer: _feature_head(count) for layer, count in channels.items()}
        self.heads = nn.ModuleDict(heads)

    def forward(self, image: Tensor, features: Mapping[str, Tensor]) -> list[Tensor]:
        """The verdicts (N, 1, h, w) of each head, in fp32; `image` is RGB (N, 3, H, W) in [0, 1]."""
        seen = {PIXELS: 2 * image - 1} | {layer: _scaled(feature) for layer, feature in features.items()}
        return [self.heads[name](values).float() for name, values in seen.items()]

    def judge(self, image: Tensor, features: Mapping[str, Tensor]) -> list[Tensor]:
        """As a call, for an image to be improved: gradients reach the image, but not the discriminator's weights."""
        frozen = {name: weight.detach() for name, weight in self.named_parameters()}
        verdicts: list[Tensor] = torch.func.functional_call(self, frozen, (image, features))
        return verdicts


def adversarial_loss(found: list[Tensor]) -> Tensor:
    """What the network minimises, given the verdicts on its images: minus their mean, over the heads."""
    return -torch.stack([verdict.mean() for verdict in found]).mean()


def discriminator_loss(found: list[Tensor], wanted: list[Tensor]) -> Tensor:
    """What the discriminator minimises, given the verdicts on the network's images and on wanted ones.

    The hinge loss (Lim and Ye 2017): 0 where wanted ones are above 1 and the network's below -1; averaged over heads.
    """
    shares = [F.relu(1 + one).mean() + F.relu(1 - other).mean() for one, other in zip(found, wanted, strict=True)]
    return torch.stack(shares).mean()


def _pixel_head() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(3, WIDEST // 2, 3, padding=1),
        nn.LeakyReLU(SLOPE),
        *_layer(WIDEST // 2, WIDEST // 2, kernel=4, stride=2),
        *_layer(WIDEST // 2, WIDEST, kernel=4, stride=2),
        nn.Conv2d(WIDEST, 1, 3, padding=1),
    )


def _feature_head(channels: int) -> nn.Sequential:
    width = min(WIDEST, 2 * channels)
    return nn.Sequential(
        nn.Conv2d(channels, width, 4, 2, padding=1),
        nn.LeakyReLU(SLOPE),
        *_layer(width, width, kernel=3, stride=1),
        nn.Conv2d(width, 1, 1),
    )


def _layer(channels: int, filters: int, kernel: int, stride: int) -> tuple[nn.Module, nn.Module]:
    normalised: nn.Module = spectral_norm(nn.Conv2d(channels, filters, kernel, stride, (kernel - 1) // 2))
    return normalised, nn.LeakyReLU(SLOPE)


def _scaled(features: Tensor) -> Tensor:
    """Features whose values are about 1, whatever the layer: each position's norm is the root of the channels."""
    unit = F.normalize(features.float(), dim=1, eps=LEAST_NORM)
    return unit * math.sqrt(features.shape[1])
