"""An adversary of super-resolution: a discriminator of the loss network's features, which learns beside the network.

It learns to tell enlarged images from wanted ones, and the network to have its own pass for wanted ones (Goodfellow et
al. 2014). As it judges features that a loss network has learned already, and no pixels, some fifty steps are enough for
it to begin (Projected GAN, Sauer et al. 2021). Both losses are relativistic averages (Jolicoeur-Martineau 2018), as in
ESRGAN (Wang et al. 2018, §3.2): each image is compared with the mean of the other kind.
"""

from collections.abc import Collection, Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from trainer.ranks import mean_over_ranks

WIDTH = 64
"""Channels of the discriminator's layers."""

SLOPE = 0.2
"""Of its rectified linear units below zero."""

Features = Mapping[str, Tensor]
"""Of the loss network by layer, (N, C, H, W); sizes differ from layer to layer."""


class Discriminator(nn.Module):
    """Judges images by their features: at each layer, each place and its eight neighbours (Isola et al. 2017, §3.2.2).

    It expects features of about the size of `examples`, which it divides by their standard deviation.
    """

    def __init__(self, examples: Features) -> None:
        """`examples`: the features of some wanted images."""
        super().__init__()
        self.judges = nn.ModuleDict({layer: _judge(features.shape[1]) for layer, features in examples.items()})
        least = torch.finfo(torch.float32).tiny
        deviations = [features.float().std().clamp_min(least) for features in examples.values()]
        self.deviations = nn.Buffer(torch.stack(deviations))

    def forward(self, features: Features) -> list[Tensor]:
        """By layer (N, 1, H, W), fp32: the larger, the more like a wanted image it is there."""
        scaled = zip(self.judges.items(), self.deviations, strict=True)
        return [judge(features[layer] / deviation).float() for (layer, judge), deviation in scaled]


def _judge(channels: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels, WIDTH, 1),
        nn.LeakyReLU(SLOPE),
        nn.Conv2d(WIDTH, WIDTH, 3, padding=1),
        nn.LeakyReLU(SLOPE),
        nn.Conv2d(WIDTH, 1, 1),
    )


def adversary_loss(discriminator: Discriminator, enlarged: Features, wanted: Features) -> Tensor:
    """What the network minimises: small where its images pass for wanted ones. `discriminator` gets no gradient."""
    constant = {name: weight.detach() for name, weight in discriminator.named_parameters()}
    found = torch.func.functional_call(discriminator, constant, (enlarged,))
    with torch.no_grad():
        expected = discriminator(wanted)
    return _mean_loss(found, expected)


def discriminator_loss(discriminator: Discriminator, enlarged: Features, wanted: Features) -> Tensor:
    """What the discriminator minimises: small where it tells both kinds apart. `enlarged` gets no gradient."""
    both = {layer: torch.cat([enlarged[layer].detach(), wanted[layer]]) for layer in enlarged}
    found, expected = zip(*(verdicts.chunk(2) for verdicts in discriminator(both)), strict=True)
    return _mean_loss(expected, found)


def _mean_loss(higher: Collection[Tensor], lower: Collection[Tensor]) -> Tensor:
    """The mean over the layers."""
    return torch.stack([relativistic_loss(*pair) for pair in zip(higher, lower, strict=True)]).mean()


def relativistic_loss(higher: Tensor, lower: Tensor) -> Tensor:
    """Small where the verdicts `higher` are above the mean of `lower`, and those below the mean of `higher`.

    The mean of -ln σ(higher - mean(lower)) and -ln(1 - σ(lower - mean(higher))): ln 2 where all are alike.
    """
    above = F.softplus(mean_over_ranks(lower.mean()) - higher).mean()
    below = F.softplus(lower - mean_over_ranks(higher.mean())).mean()
    return (above + below) / 2
