"""Nearest neighbours: each place of a painting is like some place of the painter's (Kolkin et al. 2019, STROTSS, §3.1).

Gram matrices are averages over a whole image: one regular texture everywhere satisfies them, also in a sky, whatever
the painter's is made of. Here each feature vector is compared with the painting's nearest one, so that even regions
learn from even ones and edges from edges; and each of the painting's with the images' nearest, so that what is rare in
it, such as a colour, comes up somewhere.
"""

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from trainer.losses import LEAST_NORM

MOST = 2048
"""Feature vectors that are kept of a painting at each layer: more take time, and hardly differ from these."""


class NearestFeatures:
    """The feature vectors of a painting, with which those of images are compared."""

    def __init__(self, painting: Mapping[str, Tensor]) -> None:
        """`painting`: its features (1, C, H, W) by layer. MOST places of each layer are kept, evenly spread."""
        self._means = {layer: found.float().mean((2, 3), keepdim=True) for layer, found in painting.items()}
        self._vectors = {layer: self._spread(layer, found) for layer, found in painting.items()}

    @property
    def layers(self) -> frozenset[str]:
        """The layers whose features are compared."""
        return frozenset(self._vectors)

    def distance(self, features: Mapping[str, Tensor]) -> Tensor:
        """The cosine distance of features (N, C, H, W) by layer to their nearest of the painting and back, a loss.

        Both without the painting's mean features; the mean over places, both ways and the layers, in [0, 2], and next
        to 0 for the painting itself. The way back finds the nearest in all images of the batch, in each process.
        """
        found = [self._distance(self._directions(layer, features[layer]), layer) for layer in self._vectors]
        return torch.stack(found).mean()

    def _distance(self, directions: Tensor, layer: str) -> Tensor:
        """Of the images' directions (P, C) at a layer. Which is the nearest has no gradient, only how near it is."""
        vectors = self._vectors[layer]
        with torch.no_grad():
            likeness = directions @ vectors.t()
            theirs, ours = likeness.argmax(dim=1), likeness.t().contiguous().argmax(dim=1)  # argmax over rows is slow
        there = (directions * vectors.index_select(0, theirs)).sum(dim=1)  # not by [], which no CUDA graph can have
        back = (directions.index_select(0, ours) * vectors).sum(dim=1)
        return 1 - (there.mean() + back.mean()) / 2

    def _spread(self, layer: str, painting: Tensor) -> Tensor:
        vectors = self._directions(layer, painting)
        kept = torch.linspace(0, len(vectors) - 1, min(MOST, len(vectors)), device=vectors.device)
        return vectors[kept.round().long()]

    def _directions(self, layer: str, features: Tensor) -> Tensor:
        """Features (N, C, H, W) → (N·H·W, C) of norm 1."""
        centred = (features.float() - self._means[layer]).permute(0, 2, 3, 1).flatten(0, 2)
        return F.normalize(centred, dim=1, eps=LEAST_NORM)
