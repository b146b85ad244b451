"""LPIPS with SqueezeNet (Zhang et al. 2018, version 0.1): how different two images look."""

from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models import squeezenet1_1

SLICES = (2, 5, 8, 10, 11, 12, 13)
"""How many of SqueezeNet's layers precede each of the seven compared features."""

MEAN = (0.485, 0.456, 0.406)
DEVIATION = (0.229, 0.224, 0.225)


class Lpips(nn.Module):
    """The distance; weights are those of the file, in fp32."""

    def __init__(self, file: Path) -> None:
        """`file`: safetensors with torchvision's `features.…`, and the weights of the channels as `lin0` … `lin6`."""
        super().__init__()
        weights = {name: tensor.float() for name, tensor in load_file(file).items()}
        self.features = squeezenet1_1().features
        self.features.load_state_dict(
            {name.removeprefix("features."): tensor for name, tensor in weights.items() if name.startswith("features.")}
        )
        self.channels = [weights[f"lin{index}"].view(1, -1, 1, 1) for index in range(len(SLICES))]
        self.eval().requires_grad_(False)

    @torch.inference_mode()
    def forward(self, one: Tensor, other: Tensor) -> float:
        """The distance of two images, float RGB (1, 3, H, W) in [0, 1]; 0 where they are equal."""
        pairs = zip(self._normalised(one), self._normalised(other), self.channels, strict=True)
        return sum(float(((a - b).square() * weight).sum(1).mean()) for a, b, weight in pairs)

    def _normalised(self, image: Tensor) -> list[Tensor]:
        """The seven features of an image; the channels of each position have length 1."""
        found, values = [], (image - _channels(MEAN)) / _channels(DEVIATION)
        for index, layer in enumerate(self.features, start=1):
            values = layer(values)
            if index in SLICES:
                found.append(F.normalize(values, dim=1, eps=1e-10))
        return found


def _channels(values: tuple[float, ...]) -> Tensor:
    return torch.tensor(values).view(1, 3, 1, 1)
