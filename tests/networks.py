"""Small random networks whose output depends on every layer."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from model_store import Manifest, Network, NetworkSpec, TransformNetwork

NARROW_STYLE = "c9s1-4,d6,d8,R8*5,u6,u4,c9s1-3"
"""The topology of the paper's style network, a few channels wide."""

NARROW_UPSCALE_4 = "c9s1-6,R6*4,u6,u6,c9s1-3"
"""The topology of the paper's ×4 network, a few channels wide."""


def network(
    architecture: str = NARROW_STYLE,
    norm: str = "batch",
    form: str = "native",
    output: str = "tanh",
    skip: bool = False,
    seed: int = 0,
    thumbnail: int = 256,
    noise_channels: int = 0,
) -> TransformNetwork:
    """A network in evaluation mode with random weights, scales, shifts and running statistics.

    Its output varies with its input, like that of a trained network. With torch's default weights the signal fades from
    layer to layer, the output is uniformly grey, and a test that compares outputs could not fail.
    """
    torch.manual_seed(seed)
    spec: dict[str, object] = {"architecture": architecture, "norm": norm, "form": form, "output": output, "skip": skip}
    spec |= {"thumbnail": thumbnail, "noise_channels": noise_channels}
    built = TransformNetwork(NetworkSpec.model_validate(spec))
    convolutions = [module for module in built.modules() if isinstance(module, nn.Conv2d | nn.ConvTranspose2d)]
    for convolution in convolutions:
        nn.init.kaiming_normal_(convolution.weight)
    nn.init.xavier_normal_(convolutions[-1].weight, 0.5)
    for key, value in built.state_dict().items():
        if key.endswith("norm.weight"):
            value.uniform_(0.5, 1.5)
        elif key.endswith("norm.bias"):
            value.normal_(0, 0.2)
    _measure_statistics(built)
    return built.eval()


def own(stored: Network) -> TransformNetwork:
    """A stored network that is one of ours."""
    assert isinstance(stored, TransformNetwork)
    return stored


def own_spec(manifest: Manifest) -> NetworkSpec:
    """The spec of a version of one of our networks."""
    assert isinstance(manifest.network, NetworkSpec)
    return manifest.network


def in_form(original: TransformNetwork, form: str) -> TransformNetwork:
    """The same weights in another form of padding."""
    other = TransformNetwork(NetworkSpec.model_validate(original.spec.model_dump() | {"form": form}))
    other.load_state_dict(original.state_dict())
    return other.eval()


def pictures(count: int, height: int, width: int) -> Tensor:
    """Smooth random pictures, float32 (N, 3, H, W) in [0, 1]."""
    return F.interpolate(torch.rand(count, 3, 4, 5), size=(height, width), mode="bicubic").clamp(0, 1)


@torch.no_grad()
def _measure_statistics(built: TransformNetwork) -> None:
    for module in built.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
    built.train()(pictures(8, 24, 32))
