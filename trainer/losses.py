"""The paper's losses, as pure functions of tensors (paper §3.2), and the objective of style transfer made of them.

Features are (N, C, H, W). Sums and products are computed in fp32 whatever the features' precision: a Gram matrix of
fp16 features of an 8-bit scale overflows.
"""

from collections.abc import Mapping

import torch
from torch import Tensor


def feature_reconstruction(features: Tensor, target: Tensor) -> Tensor:
    """Equation 2: ‖φ(ŷ) - φ(y)‖² / (C·H·W), averaged over the batch; also the pixel loss, of images."""
    return (features.float() - target.float()).square().mean()


def gram_matrix(features: Tensor) -> Tensor:
    """Equation 3: ψψᵀ / (C·H·W) with ψ the features as (C, H·W); (N, C, C) in fp32."""
    _, channels, height, width = features.shape
    flat = features.float().flatten(2)
    return flat @ flat.transpose(1, 2) / (channels * height * width)


def style_reconstruction(features: Tensor, target_gram: Tensor, *, pooled: bool = False) -> Tensor:
    """Equation 4: ‖G(ŷ) - G(y)‖²_F, summed over the C² entries, averaged over the batch.

    `pooled`: of the batch's mean Gram matrix, which is that of all its images side by side. Parts of large photographs
    are judged so: together they must have the painting's statistics, but a part that shows only sky need not.
    """
    gram = gram_matrix(features)
    found = gram.mean(dim=0, keepdim=True) if pooled else gram
    return (found - target_gram).square().sum(dim=(1, 2)).mean()


def texture(features: Tensor, target: Tensor, side: int = 8) -> Tensor:
    """How far the Gram matrices of patches are from those of the target's, as a share of the latter's energy.

    The texture loss of Sajjadi et al. 2017 (EnhanceNet, §4.2.3): local, so that each patch gets its own texture. The
    patches have `side` × `side` features; what is left of a row or column is not seen.
    """
    found, wanted = (gram_matrix(_patches(tensor, side)) for tensor in (features, target))
    energy = wanted.square().sum(dim=(1, 2)).mean().clamp_min(torch.finfo(torch.float32).tiny)
    return (found - wanted).square().sum(dim=(1, 2)).mean() / energy


def _patches(features: Tensor, side: int) -> Tensor:
    """(N, C, H, W) → (N · patches, C, side, side)."""
    cut = features.unfold(2, side, side).unfold(3, side, side)
    return cut.permute(0, 2, 3, 1, 4, 5).flatten(0, 2)


def total_variation(image: Tensor) -> Tensor:
    """Squared differences of neighbouring pixels, summed over (C, H, W), averaged over the batch (paper §3.2)."""
    across = (image[..., :, 1:] - image[..., :, :-1]).float().square().sum()
    down = (image[..., 1:, :] - image[..., :-1, :]).float().square().sum()
    return (across + down) / image.shape[0]


class StyleObjective:
    """Equation 5, made dimensionless: its weights do not depend on the scale of the loss network's features.

    The content loss is divided by the variance of the painting's features, the loss of each style layer by the
    painting's own ‖G‖²_F and the sum of the layers' weights, total variation by the number of values. The painting has
    the style term 0, a plane of its mean features 1; the photograph has the content term 0.

    `centred` Gram matrices are those of the features' differences from the painting's mean features. The paper's are
    dominated by these means, that is by brightness, and hardly see colours; the centred ones are zero at the same
    images, and see both.
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
        """`painting`: the features of the style image, (1, C, H, W), by layer."""
        self.content_layer = content_layer
        self.style_layers = dict(style_layers)
        self.content_weight, self.style_weight, self.tv_weight = content_weight, style_weight, tv_weight
        self._origins = {
            layer: painting[layer].float().mean(dim=(2, 3), keepdim=True) * float(centred) for layer in style_layers
        }
        self._grams = {layer: gram_matrix(self._from_origin(layer, painting[layer])) for layer in style_layers}
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
        style: float = 1.0,
        *,
        pooled: bool = False,
    ) -> dict[str, Tensor]:
        """The weighted terms for output images, their features, and the photographs' features at the content layer.

        `style` scales the style terms; `pooled` is that of `style_reconstruction`.
        """
        share = style * self.style_weight / sum(self.style_layers.values())
        return {
            "content": self.content_weight
            * feature_reconstruction(features[self.content_layer], content)
            / self._variance,
            **{
                f"style_{layer}": share * weight * self._style(layer, features[layer], pooled)
                for layer, weight in self.style_layers.items()
            },
            "tv": self.tv_weight * total_variation(image) / image[0].numel(),
        }

    def _style(self, layer: str, features: Tensor, pooled: bool) -> Tensor:
        gram = self._grams[layer]
        energy = gram.square().sum().clamp_min(torch.finfo(torch.float32).tiny)
        return style_reconstruction(self._from_origin(layer, features), gram, pooled=pooled) / energy

    def _from_origin(self, layer: str, features: Tensor) -> Tensor:
        return features.float() - self._origins[layer]
