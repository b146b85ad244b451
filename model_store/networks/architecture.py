"""The notation of Johnson et al. for transform networks, parsed and printed.

An architecture is a comma-separated list of layers, in the notation of the authors' published code:

======== ==========================================================================================
``c9s1-32``  convolution 9×9, stride 1, 32 filters
``d64``      downsampling: convolution 3×3, stride 2, 64 filters
``R128``     residual block of two 3×3 convolutions with 128 filters
``u64``      upsampling: side × 2 and a 3×3 convolution, 64 filters
``p4``       pixel shuffle (sub-pixel convolution, Shi et al. 2016): 16 channels become one, side × 4
``R128*5``   any layer, five times
======== ==========================================================================================

Every number has a bound, so that a manifest cannot ask for a network that no machine could hold.
"""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import groupby, pairwise

STYLE = "c9s1-32,d64,d128,R128*5,u64,u32,c9s1-3"
"""The paper's network for style transfer (supplementary table 1)."""

UPSCALE_4 = "c9s1-64,R64*4,u64,u64,c9s1-3"
"""The paper's network for super-resolution ×4 (supplementary table 2)."""

UPSCALE_8 = "c9s1-64,R64*4,u64,u64,u64,c9s1-3"
"""The paper's network for super-resolution ×8."""


class ArchitectureError(ValueError):
    """The notation does not describe a transform network; the message says what would."""


@dataclass(frozen=True)
class Convolution:
    """``c<kernel>s<stride>-<filters>``, or ``d<filters>`` for a 3×3 convolution of stride 2."""

    kernel: int
    stride: int
    filters: int

    def __str__(self) -> str:
        if (self.kernel, self.stride) == (3, 2):
            return f"d{self.filters}"
        return f"c{self.kernel}s{self.stride}-{self.filters}"


@dataclass(frozen=True)
class Residual:
    """``R<filters>``: two 3×3 convolutions whose result is added to their input."""

    filters: int

    def __str__(self) -> str:
        return f"R{self.filters}"


@dataclass(frozen=True)
class Upsampling:
    """``u<filters>``: side × 2 and a 3×3 convolution (the paper's convolution of stride 1/2)."""

    filters: int

    def __str__(self) -> str:
        return f"u{self.filters}"


@dataclass(frozen=True)
class Shuffle:
    """``p<factor>``: factor² channels become one channel of factor times the side."""

    factor: int

    def __str__(self) -> str:
        return f"p{self.factor}"


Layer = Convolution | Residual | Upsampling | Shuffle

_N = "[0-9]{1,9}"
_TOKEN = re.compile(
    rf"(?:c(?P<kernel>{_N})s(?P<stride>{_N})-(?P<c>{_N})|d(?P<d>{_N})|R(?P<R>{_N})|u(?P<u>{_N})|p(?P<p>{_N}))"
    rf"(?:\*(?P<times>{_N}))?"
)

_BOUNDS = {
    "kernel": ("its kernel is", 15),
    "stride": ("its stride is", 8),
    "p": ("its factor is", 8),
    "times": ("its repetitions are", 64),
}
_FILTERS = ("its filters are", 1024)

_MAX_CHANGE = 64
"""How much finer or coarser than the input any plane may be."""


@dataclass(frozen=True)
class Architecture:
    """The layers of a transform network, RGB in and RGB out, whose side grows by the integer `scale`."""

    layers: tuple[Layer, ...]

    @classmethod
    def parse(cls, notation: str) -> "Architecture":
        """Read the notation; raise ArchitectureError where it describes no RGB-to-RGB network."""
        architecture = cls(tuple(layer for token in notation.split(",") for layer in _layers(token.strip())))
        architecture._check()
        return architecture

    def __str__(self) -> str:
        return ",".join(_printed(layer, len(list(run))) for layer, run in groupby(self.layers))

    @property
    def scale(self) -> int:
        """Output side over input side."""
        return int(self._scale())

    @property
    def stride(self) -> int:
        """The fewest input pixels that are whole pixels of every plane: tiles begin at multiples of it."""
        return math.lcm(*(scale.denominator for scale in _running_scale(self.layers)))

    @property
    def values_per_pixel(self) -> float:
        """Numbers per input pixel in the two widest neighbouring planes: what a forward pass must hold at once."""
        scales = [Fraction(1), *_running_scale(self.layers)]
        widths = [*(width for _, width in self.channels()), 3]
        planes = [width * scale**2 for width, scale in zip(widths, scales, strict=True)]
        return float(max(before + after for before, after in pairwise(planes)))

    def channels(self) -> Iterator[tuple[Layer, int]]:
        """Each layer with the number of channels it receives."""
        width = 3
        for layer in self.layers:
            yield layer, width
            width = width // layer.factor**2 if isinstance(layer, Shuffle) else layer.filters

    def _scale(self) -> Fraction:
        return list(_running_scale(self.layers))[-1]

    def _check(self) -> None:
        for layer, width in self.channels():
            _check_layer(layer, width)
        if self.stride > _MAX_CHANGE or max(_running_scale(self.layers)) > _MAX_CHANGE:
            raise ArchitectureError(f"{self}: planes are at most {_MAX_CHANGE} times finer or coarser than the input")
        if self._scale().denominator != 1:
            raise ArchitectureError(f"{self}: the output must be 1, 2, 3 … times the input, not {self._scale()}")
        last, width = list(self.channels())[-1]
        result = width // last.factor**2 if isinstance(last, Shuffle) else last.filters
        if result != 3:
            raise ArchitectureError(f"{self}: ends with {result} channels, where RGB has 3")


def _layers(token: str) -> list[Layer]:
    match = _TOKEN.fullmatch(token)
    if not match:
        raise ArchitectureError(f"{token!r} is no layer; layers look like c9s1-32, d64, R128, R128*5, u64, p4")
    found = {name: int(digits) for name, digits in match.groupdict().items() if digits}
    times = found.pop("times", 1)
    if min(times, *found.values()) < 1:
        raise ArchitectureError(f"{token!r}: every number of a layer is at least 1")
    for name, number in (found | {"times": times}).items():
        what, bound = _BOUNDS.get(name, _FILTERS)
        if number > bound:
            raise ArchitectureError(f"{token!r}: {what} at most {bound}")
    return [_layer(found)] * times


def _layer(found: dict[str, int]) -> Layer:
    match found:
        case {"kernel": kernel, "stride": stride, "c": filters}:
            return Convolution(kernel, stride, filters)
        case {"d": filters}:
            return Convolution(3, 2, filters)
        case {"R": filters}:
            return Residual(filters)
        case {"u": filters}:
            return Upsampling(filters)
    return Shuffle(found["p"])


def _printed(layer: Layer, times: int) -> str:
    """Only residual blocks are abbreviated, as in the paper's tables."""
    if isinstance(layer, Residual) and times > 1:
        return f"{layer}*{times}"
    return ",".join([str(layer)] * times)


def _running_scale(layers: tuple[Layer, ...]) -> Iterator[Fraction]:
    scale = Fraction(1)
    for layer in layers:
        match layer:
            case Convolution(stride=stride):
                scale /= stride
            case Upsampling():
                scale *= 2
            case Shuffle(factor=factor):
                scale *= factor
        yield scale


def _check_layer(layer: Layer, width: int) -> None:
    match layer:
        case Convolution(kernel=kernel) if kernel % 2 == 0:
            raise ArchitectureError(f"{layer}: kernels have odd sides (3, 5, 7, 9)")
        case Residual(filters=filters) if filters != width:
            raise ArchitectureError(f"{layer} receives {width} channels; a residual block keeps their number")
        case Shuffle(factor=factor) if width % factor**2:
            raise ArchitectureError(f"{layer} receives {width} channels, not a multiple of {factor**2}")
