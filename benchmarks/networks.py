"""The paper's networks at full width with calibrated random weights, and their floating-point operations."""

import copy
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import photos
from model_store import SHIPPED_STORE, STYLE, UPSCALE_4, Draft, ModelStore, Network, NetworkSpec, TransformNetwork

STYLE_NAME, UPSCALE_NAME = "bench-style", "bench-x4"

POINTWISE = "c1s1-3"
"""A network that costs next to nothing, so that what is measured is all the rest of a service."""

SHIPPED = "great-wave"
"""A shipped style: half the paper's width, and thumbnail normalisation, as all of these."""

SPREAD = 0.3
"""Standard deviation of the input of tanh. It is nearly linear there, and the PSNR of bf16 against fp32 is 50 dB."""


def style(architecture: str = STYLE) -> TransformNetwork:
    """The network for style transfer: native form, batch normalisation, evaluation mode."""
    return calibrated(architecture)


def shipped_style() -> Network:
    """As it is trained."""
    return ModelStore(SHIPPED_STORE).load(SHIPPED).network


def upscale_4() -> TransformNetwork:
    """The network for ×4 super-resolution: native form, batch normalisation, evaluation mode."""
    return calibrated(UPSCALE_4)


def calibrated(architecture: str, seed: int = 0) -> TransformNetwork:
    """A network whose planes are normalised and whose output spreads over [0, 1] without saturating.

    Its running statistics and the scale of its last convolution are calibrated on two photos. With torch's default
    weights the output would be uniformly grey, and precision could not be judged.
    """
    torch.manual_seed(seed)
    network = TransformNetwork(NetworkSpec(architecture=architecture))
    convolutions = [module for module in network.modules() if isinstance(module, nn.Conv2d)]
    for convolution in convolutions:
        nn.init.kaiming_normal_(convolution.weight)
    _calibrate(network, convolutions[-1], _photos())
    return network.eval().requires_grad_(False)


def publish(root: Path, build_style: Callable[[], Network] = style) -> ModelStore:
    """A store at `root` that holds both networks, or another one for the style."""
    store = ModelStore(root)
    store.publish(build_style(), Draft(name=STYLE_NAME, task="style"))
    store.publish(upscale_4(), Draft(name=UPSCALE_NAME, task="super-resolution"))
    return store


def flops(network: TransformNetwork, height: int, width: int) -> int:
    """Floating-point operations of the convolutions for one image of that size: two for each tap, border included.

    They are counted in a forward pass on torch's meta device, which computes only shapes.
    """
    meta_copy = copy.deepcopy(network).to("meta")
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        meta_copy(torch.empty(1, 3, height, width, device="meta"))
    return int(counter.get_total_flops())


def _photos() -> Tensor:
    """Two photos, float32 (2, 3, 192, 192) in [0, 1]."""
    pictures = torch.stack([torch.from_numpy(photos.photo(192, 192, seed)) for seed in range(2)])
    return pictures.permute(0, 3, 1, 2).float() / 255


@torch.no_grad()
def _calibrate(network: TransformNetwork, last: nn.Conv2d, images: Tensor) -> None:
    """Measure the statistics, then scale the last convolution so that the input of tanh has mean 0, deviation SPREAD.

    That input is computed from the output, 0.5 + 150/255 · tanh, which is not clamped in training mode.
    """
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
    last.weight.mul_(0.1)
    bias = nn.init.zeros_(_bias(last))
    spread, mean = torch.std_mean(torch.atanh((network.train()(images) - 0.5) * 255 / 150), (0, 2, 3))
    last.weight.mul_(SPREAD / spread[:, None, None, None])
    bias.copy_(-mean * SPREAD / spread)


def _bias(convolution: nn.Conv2d) -> Tensor:
    if convolution.bias is None:
        raise TypeError("a transform network's convolutions have a bias")
    return convolution.bias
