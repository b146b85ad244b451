"""Networks of others that enlarge or restore images, which spandrel recognises by keys and shapes, and builds.

https://github.com/chaiNNer-org/spandrel
"""

import copy
from collections.abc import Callable, Mapping
from functools import partial
from math import lcm
from typing import Any, Literal, Protocol

import torch
from torch import Tensor, nn

from model_store.errors import MissingExtra, UnknownCheckpoint
from model_store.golden import as_batch, pattern
from model_store.importers.locality import measure_locality
from model_store.networks.imported import Enlarger, ImportedNetwork, ImportedSpec, enlarge_rgb
from model_store.networks.imported_rewrites import lay_out_channels_last, rewrite_for_inference, unbanded_layers

LEAST_PSNR = 47.0
"""In dB, of bf16 against fp32 on a test image; a little more than the golden outputs of a store ask for."""


WINDOWS = ("window_size", "split_size")
"""What modules call the sides of their attention windows."""


CHANNELS: Mapping[tuple[int, int], Literal[1, 3]] = {(1, 1): 1, (3, 3): 3}
"""Of networks that can be imported, by those of their input and output."""


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
    facts = found.architecture.id, found.scale, _parameters(found), found.input_channels
    if facts != (spec.architecture, spec.scale, spec.parameters, spec.channels):
        raise UnknownCheckpoint("the weights are those of {} ×{} with {} parameters for {} channels".format(*facts))
    return ImportedNetwork(spec, found)


def measure_imported(tensors: Mapping[str, Tensor]) -> ImportedNetwork:
    """The network of a checkpoint, with the measured facts in its spec.

    Raises MissingExtra without spandrel, UnknownCheckpoint for what makes other images than it takes, or none, and
    ValidationError for facts that no spec can have.
    """
    found = _describe(tensors)
    made = (
        f"{found.architecture.name} turns {found.input_channels} channels into {found.output_channels}, ×{found.scale}"
    )
    channels = CHANNELS.get((found.input_channels, found.output_channels))
    if channels is None:
        raise UnknownCheckpoint(f"{made}; networks from RGB to RGB, or from grey to grey, can be imported")
    lay_out_channels_last(found.model.eval().requires_grad_(False))
    _require_pictures(found, made)
    locality = measure_locality(_in_rgb(found), found.scale, _stride(found))
    spec = ImportedSpec(
        package="spandrel",
        architecture=found.architecture.id,
        scale=found.scale,
        channels=channels,
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
        raise MissingExtra(
            "networks of others that enlarge or restore need spandrel: pip install 'pastiche[import]'"
        ) from error
    weights = {key: tensor.float() if tensor.is_floating_point() else tensor for key, tensor in tensors.items()}
    try:
        found: _Described = ModelLoader(device="cpu").load_from_state_dict(weights)
    except Exception as error:  # whatever a library raises that guesses by keys and shapes
        reason = " ".join(str(error).split())[:200] or "they fit none of its architectures"
        raise UnknownCheckpoint(f"spandrel knows no network with these weights: {reason}") from error
    _require_floats(tensors, found)
    return found


def _require_floats(tensors: Mapping[str, Tensor], found: _Described) -> None:
    """Raise UnknownCheckpoint for integers in place of weights, such as quantised ones, which torch would take."""
    floats = {key for key, tensor in found.model.state_dict().items() if tensor.is_floating_point()}
    wrong = next((key for key, tensor in tensors.items() if key in floats and not tensor.is_floating_point()), None)
    if wrong is not None:
        kind = str(tensors[wrong].dtype).removeprefix("torch.")
        raise UnknownCheckpoint(f"its {wrong} is {kind}, where {found.architecture.name} has floating point")


def _in_rgb(found: _Described) -> Callable[[Tensor], Tensor]:
    return partial(enlarge_rgb, found, channels=found.input_channels)


def _rewritten(found: _Described) -> _Described:
    """A copy as it runs: see `ImportedNetwork.for_inference`."""
    copied = copy.deepcopy(found)
    rewrite_for_inference(copied.model)
    return copied


def _parameters(found: _Described) -> int:
    return sum(parameter.numel() for parameter in found.model.parameters())


def _stride(found: _Described) -> int:
    """The least common multiple of the multiples that the network asks for and of its attention windows."""
    windows = (getattr(module, name, 1) for module in found.model.modules() for name in WINDOWS)
    sides = (side for window in windows for side in (window if isinstance(window, list | tuple) else [window]))
    return lcm(found.size_requirements.multiple_of, *(side for side in sides if isinstance(side, int) and side > 0))


@torch.inference_mode()
def _require_pictures(found: _Described, made: str) -> None:
    """Raise UnknownCheckpoint where the network makes no picture of one larger than the least that it takes.

    As one that also wants a mask, one for faces of a single size, or one whose training diverged.
    """
    least = found.size_requirements.minimum
    image = as_batch(pattern(max(61, least + 5), max(83, least + 23)))
    size = "×".join(map(str, image.shape[:1:-1]))
    try:
        output = _in_rgb(found)(image)
    except Exception as error:  # of whatever its package raises
        reason = " ".join(str(error).split())[:200]
        raise UnknownCheckpoint(f"{made}, but of a test image of {size} it makes an error: {reason}") from error
    if not torch.isfinite(output).all():
        raise UnknownCheckpoint(f"{made}, but what it makes of a test image of {size} are no finite numbers")


@torch.inference_mode()
def _values_per_pixel(found: _Described, side: int = 64) -> float:
    """Values per input pixel of the largest input and output of a layer, where the network is made for inference."""
    most = 0

    def count(_: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        nonlocal most
        tensors = [value for value in (*inputs, output) if isinstance(value, Tensor)]
        most = max(most, sum(tensor.numel() for tensor in tensors))

    rewritten = _rewritten(found)
    for layer in unbanded_layers(rewritten.model):
        layer.register_forward_hook(count)
    _in_rgb(rewritten)(torch.zeros(1, 3, side, side))
    return max(most / side**2, 1.0)


@torch.inference_mode()
def _reproduced_in_bf16(found: _Described) -> bool:
    """Whether bf16 gives the output of fp32 on a test image, to LEAST_PSNR."""
    if not found.supports_bfloat16:
        return False
    image, half = as_batch(pattern(48, 48)), _rewritten(found)
    half.model.bfloat16()
    try:
        difference = _in_rgb(half)(image) - _in_rgb(found)(image)
    except RuntimeError:  # some mix precisions at sizes other than those they were trained at
        return False
    return bool(-10 * torch.log10(difference.square().mean().clamp_min(1e-12)) >= LEAST_PSNR)
