"""Enlarging networks of others, which spandrel recognises by their keys and shapes and builds.

https://github.com/chaiNNer-org/spandrel
"""

import copy
from collections.abc import Mapping
from math import lcm
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from model_store.errors import MissingExtra, UnknownCheckpoint
from model_store.golden import as_batch, pattern
from model_store.importers.locality import measure_locality
from model_store.networks.imported import Enlarger, ImportedNetwork, ImportedSpec

LEAST_PSNR = 47.0
"""In dB, of bf16 against fp32 on a test image; a little more than the golden outputs of a store ask for."""


WINDOWS = ("window_size", "split_size")
"""What modules call the sides of their attention windows."""


class _Described(Enlarger, Protocol):
    """The part of spandrel's ImageModelDescriptor that is used."""

    scale: int
    input_channels: int
    output_channels: int
    supports_bfloat16: bool
    purpose: str
    architecture: Any
    size_requirements: Any


def build_imported(spec: ImportedSpec, tensors: Mapping[str, Tensor]) -> ImportedNetwork:
    """The network of a manifest, in fp32. Raises MissingExtra without spandrel, UnknownCheckpoint for other weights."""
    found = _describe(tensors)
    facts = found.architecture.id, found.scale, _parameters(found)
    if facts != (spec.architecture, spec.scale, spec.parameters):
        raise UnknownCheckpoint("the weights are those of {} ×{} with {} parameters".format(*facts))
    return ImportedNetwork(spec, found)


def measure_imported(tensors: Mapping[str, Tensor]) -> ImportedNetwork:
    """The network of a checkpoint, with the measured facts in its spec.

    Raises MissingExtra without spandrel, UnknownCheckpoint for what does not enlarge RGB.
    """
    found = _describe(tensors)
    made = (
        f"{found.architecture.name} turns {found.input_channels} channels into {found.output_channels}, ×{found.scale}"
    )
    if found.scale < 2 or (found.input_channels, found.output_channels) != (3, 3):
        raise UnknownCheckpoint(f"{made}; networks that enlarge RGB can be imported")
    found.model.eval().requires_grad_(False).to(memory_format=torch.channels_last)
    locality = measure_locality(found, found.scale, _stride(found))
    spec = ImportedSpec(
        package="spandrel",
        architecture=found.architecture.id,
        scale=found.scale,
        tiles=locality.tiles,
        halo=locality.halo,
        stride=locality.stride,
        seam=locality.seam,
        values_per_pixel=_values_per_pixel(found),
        half_precision=_reproduced_in_bf16(found),
        parameters=_parameters(found),
    )
    return ImportedNetwork(spec, found)


def _describe(tensors: Mapping[str, Tensor]) -> _Described:
    try:
        from spandrel import ModelLoader  # noqa: PLC0415 - an optional extra
    except ImportError as error:
        raise MissingExtra("enlarging networks of others need spandrel: pip install 'pastiche[import]'") from error
    weights = {key: tensor.float() if tensor.is_floating_point() else tensor for key, tensor in tensors.items()}
    try:
        found: _Described = ModelLoader(device="cpu").load_from_state_dict(weights)
    except Exception as error:  # whatever a library raises that guesses by keys and shapes
        reason = " ".join(str(error).split())[:200]
        raise UnknownCheckpoint(f"spandrel knows no network with these weights: {reason}") from error
    return found


def _parameters(found: _Described) -> int:
    return sum(parameter.numel() for parameter in found.model.parameters())


def _stride(found: _Described) -> int:
    """The least common multiple of the multiples that the network asks for and of its attention windows."""
    windows = (getattr(module, name, 1) for module in found.model.modules() for name in WINDOWS)
    sides = (side for window in windows for side in (window if isinstance(window, list | tuple) else [window]))
    return lcm(found.size_requirements.multiple_of, *(side for side in sides if isinstance(side, int) and side > 0))


@torch.inference_mode()
def _values_per_pixel(found: _Described, side: int = 64) -> float:
    """Values per input pixel of the largest input and output of a layer."""
    most = 0

    def count(_: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        nonlocal most
        tensors = [value for value in (*inputs, output) if isinstance(value, Tensor)]
        most = max(most, sum(tensor.numel() for tensor in tensors))

    leaves = [module for module in found.model.modules() if not list(module.children())]
    handles = [leaf.register_forward_hook(count) for leaf in leaves]
    found(torch.zeros(1, 3, side, side))
    for handle in handles:
        handle.remove()
    return max(most / side**2, 1.0)


@torch.inference_mode()
def _reproduced_in_bf16(found: _Described) -> bool:
    """Whether bf16 gives the output of fp32 on a test image, to LEAST_PSNR."""
    if not found.supports_bfloat16:
        return False
    image, half = as_batch(pattern(48, 48)), copy.deepcopy(found)
    half.model.bfloat16()
    try:
        difference = half(image.bfloat16()).float() - found(image)
    except RuntimeError:  # some mix precisions at sizes other than those they were trained at
        return False
    return bool(-10 * torch.log10(difference.square().mean().clamp_min(1e-12)) >= LEAST_PSNR)
