"""A network of another project as a graph for images of any size.

Its package makes small images larger, and most networks with attention windows make images a multiple of them: both are
branches by the size of the image, which are no part of a graph. So the graph does as much to all images beforehand, and
leaves nothing to do.
"""

import inspect
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from model_store.golden import as_batch, pattern
from model_store.networks.imported import ImportedNetwork, enlarge_rgb
from model_store.networks.imported_rewrites import fold_convolutions, register_constants

Padding = Literal["reflect", "replicate", "zeros", "own"]
"""What an image is continued with to the right and below. Own: by the network, as far as torch can follow."""

PADDINGS: tuple[Padding, ...] = ("reflect", "replicate", "zeros")

ROUNDING = 1e-5
"""By which the output of the right padding may differ, of values in [0, 1]."""


class ImportedGraph(nn.Module):
    """RGB, float32 (N, 3, H, W), to (N, 3, H × scale, W × scale), as the network's package answers for each image."""

    def __init__(self, network: ImportedNetwork) -> None:
        """`network`: a copy, whose layers are replaced by such as can be traced."""
        super().__init__()
        fold_convolutions(network.model)
        register_constants(network.model)
        self.network = network
        described: Any = network.enlarger
        self._least: int = described.size_requirements.minimum
        self.padding: Padding = self._choose()

    def forward(self, image: Tensor) -> Tensor:
        height, width = (side * self.network.scale for side in image.shape[-2:])
        return enlarge_rgb(_Traceable(self.network), self._extend(image), self.network.spec.channels)[
            ..., :height, :width
        ]

    @torch.no_grad()
    def _choose(self) -> Padding:
        """What gives the output of the network, whose sides are no multiples of anything; own where nothing does."""
        if self.network.stride == 1 and self._least <= 1:
            return "own"
        image = as_batch(pattern(37, 53))
        expected = self.network(image)
        for self.padding in PADDINGS:
            if (self(image).clamp(0.0, 1.0) - expected).abs().max() <= ROUNDING:
                return self.padding
        return "own"

    def _extend(self, image: Tensor) -> Tensor:
        """As large as the network asks for, and then up to a multiple of its stride."""
        if self.padding == "own":
            return image
        least = [torch.sym_max(side, self._least) for side in image.shape[-2:]]
        image = _continue(image, least, "reflect")
        stride = self.network.stride
        return _continue(image, [(side + stride - 1) // stride * stride for side in least], self.padding)


class _Traceable:
    """A network as its package calls it, but not in inference mode, whose tensors cannot be traced."""

    def __init__(self, network: ImportedNetwork) -> None:
        self._enlarger = network.enlarger
        self.model = network.model

    def __call__(self, image: Tensor, /) -> Tensor:
        result: Tensor = inspect.unwrap(type(self._enlarger).__call__)(self._enlarger, image)
        return result


def _continue(image: Tensor, sides: list[Any], padding: Padding) -> Tensor:
    """The image continued to that height and width, which are no smaller."""
    height, width = image.shape[-2:]
    if padding == "zeros":
        return F.pad(image, (0, sides[1] - width, 0, sides[0] - height))
    return image[..., _places(height, sides[0], padding), :][..., _places(width, sides[1], padding)]


def _places(side: int, longer: int, padding: Padding) -> Tensor:
    """Where the pixels of a longer axis come from. A reflection that reaches the first pixel repeats it."""
    places = torch.arange(longer)
    mirrored = 2 * (side - 1) - places if padding == "reflect" else places.new_full((), side - 1)
    return torch.where(places < side, places, mirrored.clamp(min=0))
