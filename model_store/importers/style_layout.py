"""How a style network of another project becomes one of ours that computes the same.

All of them are the network of Johnson et al.: three convolutions, residual blocks, two that enlarge, one to RGB. What
differs is folded into the weights, exactly but for rounding:

- Their pixels are another affine map of ours: it goes into the first convolution, and its inverse into the last one.
  Where a network pads with zeros, what is zero to it stays so; where tanh ends it, what it is centred on.
- Where pixels are BGR, the channels of these two convolutions are exchanged.
- Instance normalisation with another epsilon is that with ours of features that are larger or smaller by the square
  root of their ratio, which goes into the convolution before it.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import sqrt
from typing import Literal

import torch
from torch import Tensor

from model_store.networks.layers import Triple
from model_store.networks.transform import NetworkSpec, TransformNetwork

OWN_EPSILON = 1e-5
"""Of our instance normalisation."""


@dataclass(frozen=True)
class Pixels:
    """What a network takes for pixels: scale · RGB + shift, for RGB in [0, 1]; perhaps with the channels as BGR."""

    scale: Triple
    shift: Triple = (0.0, 0.0, 0.0)
    bgr: bool = False

    @property
    def zero(self) -> Triple:
        """The RGB that is zero to the network."""
        red, green, blue = (-shift / scale for shift, scale in zip(self.shift, self.scale, strict=True))
        return red, green, blue


@dataclass(frozen=True)
class Step:
    """A convolution and the normalisation after it, by the prefixes of their keys, with its kernel."""

    conv: str
    norm: str
    kernel: int = 3
    transposed: bool = False
    """Whether its weight is that of a transposed convolution: (in, out, kernel, kernel)."""


@dataclass(frozen=True, eq=False)
class StyleLayout:
    """The keys, the pixels and the normalisation of a project's networks."""

    name: str
    down: Sequence[Step]
    blocks: Sequence[str]
    """The prefix of a residual block, with {} for its number: of its two convolutions and their normalisations."""
    first_block: int
    up: Sequence[Step]
    last: Step
    pixels: Pixels
    form: Literal["same", "paper", "tensorflow"] = "same"
    norm: Literal["instance", "batch"] = "instance"
    tanh_centre: Triple | None = None
    """The RGB that tanh · 150 / 255 is centred on at the end; None for a network without tanh."""
    epsilon: float = OWN_EPSILON
    scale_key: str = "weight"
    shift_key: str = "bias"
    ignored: str = r"(.+\.)?in\d+\.(running_mean|running_var|num_batches_tracked)"
    """What keys of old files match that are not used."""
    assumptions: Mapping[str, str] = field(default_factory=dict)

    @property
    def output(self) -> Literal["linear", "tanh"]:
        """What ends the network."""
        return "linear" if self.tanh_centre is None else "tanh"

    def differences(self, tensors: Mapping[str, Tensor]) -> list[str]:
        """What distinguishes a checkpoint from this layout; empty where it has it."""
        used = self._used(tensors)
        found = {key: tuple(tensor.shape) for key, tensor in used.items()}
        expected = self._expected(found)
        missing = [f"{key} is missing" for key in expected if key not in found]
        surplus = [f"{key} is not part of it" for key in found if key not in expected]
        shapes = [
            f"{key} is {found[key]}, not {shape}"
            for key, shape in expected.items()
            if key in found and found[key] != shape
        ]
        kinds = [
            f"{key} is {str(used[key].dtype).removeprefix('torch.')}, not of floating point"
            for key in expected
            if key in used and not used[key].is_floating_point()
        ]
        return missing + shapes + kinds + surplus

    @torch.no_grad()
    def convert(self, tensors: Mapping[str, Tensor]) -> TransformNetwork:
        """Our network that computes the same as a checkpoint without differences."""
        used = {key: tensor.double() for key, tensor in self._used(tensors).items()}
        network = TransformNetwork(self._spec(used))
        state = {}
        for ours, step in zip(self._our_prefixes(used), self._steps(used), strict=True):
            gain = sqrt(OWN_EPSILON / self.epsilon) if step.norm else 1.0
            for part in ("weight", "bias"):
                state[f"{ours}conv.{part}"] = used[f"{step.conv}.{part}"] * gain
            for part, key in self._norm_keys().items() if step.norm else ():
                state[f"{ours}norm.{part}"] = used[f"{step.norm}.{key}"]
        self._fold_pixels(state)
        own = network.state_dict()  # which has counts of batches, too
        network.load_state_dict(own | {key: tensor.float() for key, tensor in state.items()}, strict=True)
        return network.eval()

    def _norm_keys(self) -> dict[str, str]:
        """The keys of normalisation: ours, and those of the layout."""
        keys = {"weight": self.scale_key, "bias": self.shift_key}
        return keys | {key: key for key in ("running_mean", "running_var") if self.norm == "batch"}

    def _used(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {key: tensor for key, tensor in tensors.items() if not re.fullmatch(self.ignored, key)}

    def _steps(self, tensors: Mapping[str, object]) -> list[Step]:
        """All convolutions, from the first to the last."""
        first, second, first_norm, second_norm = self.blocks
        count = 0
        while f"{first.format(self.first_block + count)}.weight" in tensors:
            count += 1
        inner: list[Step] = []
        for number in range(self.first_block, self.first_block + count):
            inner += [Step(first.format(number), first_norm.format(number))]
            inner += [Step(second.format(number), second_norm.format(number))]
        return [*self.down, *inner, *self.up, self.last]

    def _expected(self, found: Mapping[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
        """The shapes of this layout, as wide as the convolutions of the checkpoint are; residual blocks keep it."""
        expected: dict[str, tuple[int, ...]] = {}
        width = 3
        widening = [*self.down, *self.up]
        for step in self._steps(found):
            shape = found.get(f"{step.conv}.weight", ())
            told = shape[step.transposed] if step in widening and len(shape) > 1 else width
            filters = 3 if step == self.last else told
            channels = (width, filters) if step.transposed else (filters, width)
            expected[f"{step.conv}.weight"] = (*channels, step.kernel, step.kernel)
            expected[f"{step.conv}.bias"] = (filters,)
            if step.norm:
                expected |= {f"{step.norm}.{key}": (filters,) for key in self._norm_keys().values()}
            width = filters
        return expected

    def _spec(self, tensors: Mapping[str, Tensor]) -> NetworkSpec:
        filters = [len(tensors[f"{step.conv}.bias"]) for step in self._steps(tensors)]
        blocks = (len(filters) - len(self.down) - len(self.up) - 1) // 2
        one, two, three, *_ = filters
        four, five = filters[-3:-1]
        up = "t" if self.form == "same" and self.up[0].transposed else "u"
        down, residual = [f"c9s1-{one}", f"d{two}", f"d{three}"], [f"R{three}"] * blocks
        layers = [*down, *residual, f"{up}{four}", f"{up}{five}", "c9s1-3"]
        return NetworkSpec(
            architecture=",".join(layers),
            norm=self.norm,
            form=self.form,
            output=self.output,
            input_zero=self._input_zero,
            output_zero=self.tanh_centre,
            last_norm=bool(self.last.norm),
        )

    @property
    def _input_zero(self) -> Triple:
        """Where nothing is padded with zeros it may be our own."""
        return (0.5, 0.5, 0.5) if self.form == "same" else self.pixels.zero

    def _our_prefixes(self, tensors: Mapping[str, Tensor]) -> Iterator[str]:
        """The prefixes of our keys, in the order of `_steps`."""
        down, up = len(self.down), len(self.up)
        blocks = (len(self._steps(tensors)) - down - up - 1) // 2
        yield from (f"layers.{layer}." for layer in range(down))
        for layer in range(down, down + blocks):
            yield from (f"layers.{layer}.first.", f"layers.{layer}.second.")
        yield from (f"layers.{layer}." for layer in range(down + blocks, down + blocks + up + 1))

    def _fold_pixels(self, state: dict[str, Tensor]) -> None:
        """Let the first convolution take our pixels, 2 · (RGB - zero), and the last one give RGB or what tanh takes."""
        first, last = "layers.0.conv.", f"layers.{max(map(_layer, state))}.conv."
        scale, shift = (torch.tensor(values, dtype=torch.float64) for values in (self.pixels.scale, self.pixels.shift))
        weight, end = state[f"{first}weight"], state[f"{last}weight"]
        if self.pixels.bgr:
            weight, end, state[f"{last}bias"] = weight.flip(1), end.flip(0), state[f"{last}bias"].flip(0)
        zero = torch.tensor(self._input_zero, dtype=torch.float64)
        state[f"{first}bias"] = state[f"{first}bias"] + (weight.sum((2, 3)) @ (scale * zero + shift))
        state[f"{first}weight"] = weight * (scale / 2)[:, None, None]
        state[f"{last}weight"] = end if self.tanh_centre else end / scale[:, None, None, None]
        if not self.tanh_centre:
            state[f"{last}bias"] = (state[f"{last}bias"] - shift) / scale


def _layer(key: str) -> int:
    return int(key.split(".")[1])
