"""The style of a painting at smaller sizes, where its large forms are as small as brush strokes.

A loss network sees no further than its receptive field, 26 pixels at VGG-11's relu3_2: what is larger in a painting,
such as the curls of foam on a wave, is any heap of strokes to it. Snelgrove 2017 (High-Resolution Multi-Scale Neural
Texture Synthesis, §3) compares Gram matrices of an image at several sizes, each half of the one before.
"""

from collections.abc import Iterator

from torch import Tensor
from torch.nn import functional as F

from trainer.errors import TrainerError
from trainer.loss_network import LossNetwork
from trainer.objective import StyleWeights, nearest_features, style_objective

LEAST_SIDE = 32
"""Pixels of the smallest size: of fewer, next to nothing is left at the last layers."""


class StyleLevel:
    """The style of a painting at one smaller size, and how far paintings of a network are from it."""

    def __init__(self, factor: int, weights: StyleWeights, loss_network: LossNetwork, painting: Tensor) -> None:
        """`painting`: RGB (1, 3, H, W) in [0, 1], of the full size; all is compared at a `factor`-th of that.

        Raises TrainerError for a painting that is too small.
        """
        height, width = painting.shape[-2:]
        if min(height, width) < factor * LEAST_SIDE:
            raise TrainerError(
                f"--style-levels wants a painting of at least {factor * LEAST_SIDE} pixels a side; with --style-size "
                f"it has {width}×{height}"
            )
        smaller = F.avg_pool2d(painting, factor)
        self.factor, self._loss_network = factor, loss_network
        self._objective = style_objective(weights, loss_network, smaller)
        self._nearest = nearest_features(self._objective, loss_network, smaller)

    def terms(
        self, painted: Tensor, style_weights: Tensor, neighbour_weight: Tensor | None, *, pooled: bool
    ) -> Iterator[tuple[str, Tensor]]:
        """Of paintings (N, 3, H, W) of the full size: `style_1/2`, and with a weight of neighbours `neighbours_1/2`."""
        features = self._loss_network(F.avg_pool2d(painted, self.factor), list(self._objective.style_layers))
        style = self._objective.style_terms(features, style_weights, pooled=pooled)
        yield f"style_1/{self.factor}", sum(style.values(), style_weights.new_zeros(()))
        if neighbour_weight is not None:
            yield f"neighbours_1/{self.factor}", neighbour_weight * self._nearest.distance(features)
