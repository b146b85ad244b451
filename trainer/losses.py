"""The paper's losses (§3.2) as functions of features (N, C, H, W), and equation 5 made of them.

All are computed in fp32 whatever the precision of the features: a Gram matrix of fp16 features can overflow.
"""

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from trainer.ranks import mean_over_ranks

LEAST_NORM = 1e-3
"""Norm of features below which they are not divided by it: nothing is seen there."""


def feature_reconstruction(features: Tensor, target: Tensor) -> Tensor:
    """Equation 2: ‖φ(ŷ) - φ(y)‖² / (C·H·W), averaged over the batch. For images it is the paper's pixel loss."""
    return (features.float() - target.float()).square().mean()


def gram_matrix(features: Tensor) -> Tensor:
    """Equation 3: ψψᵀ / (C·H·W), ψ the features as (C, H·W). Returns (N, C, C) in fp32."""
    _, channels, height, width = features.shape
    flat = features.float().flatten(2)
    return flat @ flat.transpose(1, 2) / (channels * height * width)


def style_reconstruction(features: Tensor, target_gram: Tensor, *, pooled: bool = False) -> Tensor:
    """Equation 4: ‖G(ŷ) - G(y)‖²_F, summed over the C² entries, averaged over the batch.

    `pooled` compares the mean Gram matrix of the batch, of all processes, instead of each image's. It is used for crops
    of large photographs: all together are to have the painting's statistics, a crop that shows only sky need not.
    """
    gram = gram_matrix(features)
    found = mean_over_ranks(gram.mean(dim=0, keepdim=True)) if pooled else gram
    return (found - target_gram).square().sum(dim=(1, 2)).mean()


def perceptual_distance(pairs: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
    """The perceptual distance of Zhang et al. 2018 (LPIPS, §3) with equal weights, averaged over layers and the batch.

    `pairs`: the features of two images at each layer. At each position they are divided by their norm over the
    channels; the distance is the squared difference, summed over the channels: 0 where equal, 2 where orthogonal.
    """
    shares = [(_unit(found) - _unit(wanted)).square().sum(dim=1).mean() for found, wanted in pairs]
    return torch.stack(shares).mean()


def _unit(features: Tensor) -> Tensor:
    """Features of norm 1 over the channels; where there is next to nothing, less."""
    return F.normalize(features.float(), dim=1, eps=LEAST_NORM)


def texture_loss(features: Tensor, target: Tensor, side: int = 8) -> Tensor:
    """The texture loss of Sajjadi et al. 2017 (EnhanceNet, §4.2.3): Gram matrices of patches, relative to the target.

    ‖G(ŷ) - G(y)‖²_F / ‖G(y)‖²_F, both averaged over the patches of `side` × `side` features. Features of incomplete
    patches at the right and bottom border are not compared.
    """
    found, wanted = (gram_matrix(_patches(tensor, side)) for tensor in (features, target))
    energy = mean_over_ranks(wanted.square().sum(dim=(1, 2)).mean()).clamp_min(torch.finfo(torch.float32).tiny)
    return (found - wanted).square().sum(dim=(1, 2)).mean() / energy


def _patches(features: Tensor, side: int) -> Tensor:
    """(N, C, H, W) → (N · patches, C, side, side)."""
    patches = features.unfold(2, side, side).unfold(3, side, side)
    return patches.permute(0, 2, 3, 1, 4, 5).flatten(0, 2)


def repeated_error(found: Tensor, wanted: Tensor, period: int, count: int = 4) -> Tensor:
    """The mean square of what repeats in the error of images (N, C, H, W) with a period, in pixels.

    In windows of `count` × `count` periods, each overlapping half of the next, the error is averaged over the periods;
    what is constant there is no repetition. A weave of standard deviation σ that the wanted images have not counts σ²,
    also where it changes from window to window, and irregular errors a `count`²-th of that. The rest of a side that is
    no multiple of the period does not count. Zero for images of fewer than `count` periods a side.
    """
    height, width = (length // period * period for length in found.shape[-2:])
    if min(height, width) < count * period:
        return found.new_zeros((), dtype=torch.float32)
    phases = F.pixel_unshuffle((found.float() - wanted.float())[..., :height, :width], period)
    repeated = F.avg_pool2d(phases, count, max(1, count // 2)).unflatten(1, (-1, period**2))
    error: Tensor = repeated - repeated.mean(dim=2, keepdim=True)
    return error.square().mean()


def total_variation(image: Tensor) -> Tensor:
    """Squared differences of neighbouring pixels, summed over C, H and W, averaged over the batch (paper §3.2)."""
    across = (image[..., :, 1:] - image[..., :, :-1]).float().square().sum()
    down = (image[..., 1:, :] - image[..., :-1, :]).float().square().sum()
    return (across + down) / image.shape[0]


class StyleObjective:
    """Equation 5 with normalised terms, so that the weights do not depend on the scale of the loss network's features.

    The content loss is divided by the variance of the painting's features at the content layer. The style loss of each
    layer is divided by the painting's ‖G‖²_F and by the sum of the layers' weights. Total variation is divided by the
    number of values of an image. The style terms are 0 for the painting, and add up to `style_weight` for features that
    are constant at the painting's means; the content term is 0 for the photograph.

    `centred` subtracts the painting's mean features before Gram matrices are computed. Without it, as in the paper, the
    means dominate the Gram matrices, and differences of colour weigh little.
    """

    def __init__(
        self,
        painting: Mapping[str, Tensor],
        content_layer: str,
        style_layers: Mapping[str, float],
        *,
        content_weight: float,
        style_weight: float,
        tv_weight: float,
        centred: bool = True,
    ) -> None:
        """`painting`: its features (1, C, H, W) by layer, the content layer included."""
        self.content_layer = content_layer
        self.style_layers = dict(style_layers)
        self.content_weight, self.style_weight, self.tv_weight = content_weight, style_weight, tv_weight
        self._means = {
            layer: painting[layer].float().mean(dim=(2, 3), keepdim=True) * float(centred) for layer in style_layers
        }
        self._grams = {layer: gram_matrix(self._centre(layer, painting[layer])) for layer in style_layers}
        self._variance = painting[content_layer].float().var(dim=(2, 3), correction=0).mean()

    @property
    def layers(self) -> frozenset[str]:
        """The layers whose features the objective needs."""
        return frozenset({self.content_layer, *self.style_layers})

    def __call__(
        self,
        image: Tensor,
        features: Mapping[str, Tensor],
        content: Tensor,
        style_weights: Iterable[float] | Tensor | None = None,
        *,
        pooled: bool = False,
    ) -> dict[str, Tensor]:
        """The weighted terms `content`, `style_<layer>` and `tv`, averaged over the batch.

        `image` is the output (N, 3, H, W) with its `features` by layer, `content` the photographs' features at the
        content layer. `style_weights` are those of the layers, by default the objective's own; `pooled` is passed to
        `style_reconstruction`.
        """
        weights = self.style_weights() if style_weights is None else style_weights
        return {
            "content": self.content_weight
            * feature_reconstruction(features[self.content_layer], content)
            / self._variance,
            **self.style_terms(features, weights, pooled=pooled),
            "tv": self.tv_weight * total_variation(image) / image[0].numel(),
        }

    def style_terms(
        self, features: Mapping[str, Tensor], weights: Iterable[float] | Tensor, *, pooled: bool = False
    ) -> dict[str, Tensor]:
        """The weighted terms `style_<layer>` alone; as in `__call__`, with the weight of each layer."""
        return {
            f"style_{layer}": weight * self._style(layer, features[layer], pooled)
            for layer, weight in zip(self.style_layers, weights, strict=True)
        }

    def style_weights(self, factor: float = 1.0) -> list[float]:
        """The weight of the style term of each layer, times a factor."""
        share = factor * self.style_weight / sum(self.style_layers.values())
        return [share * weight for weight in self.style_layers.values()]

    def _style(self, layer: str, features: Tensor, pooled: bool) -> Tensor:
        gram = self._grams[layer]
        energy = gram.square().sum().clamp_min(torch.finfo(torch.float32).tiny)
        return style_reconstruction(self._centre(layer, features), gram, pooled=pooled) / energy

    def _centre(self, layer: str, features: Tensor) -> Tensor:
        return features.float() - self._means[layer]
