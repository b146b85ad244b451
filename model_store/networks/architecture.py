"""The notation for transform networks of Johnson et al. (2016), parsed and printed.

An architecture is a comma-separated list of layers, in the notation of the authors' published code:

======== ==========================================================================================
``c9s1-32``  convolution 9×9, stride 1, 32 filters
``d64``      downsampling: convolution 3×3, stride 2, 64 filters
``R128``     residual block of two 3×3 convolutions with 128 filters
``u64``      upsampling: side × 2 and a 3×3 convolution, 64 filters
``t64``      transposed convolution 3×3 of stride 2 with zero padding: side × 2, 64 filters
``p4``       pixel shuffle (sub-pixel convolution, Shi et al. 2016): 16 channels become one, side × 4
``R128*5``   any layer, five times
======== ==========================================================================================

Every number is bounded, and so are the layers and all their weights, so that a manifest cannot describe a network too
large for any machine.
"""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import groupby, islice, pairwise

STYLE = "c9s1-32,d64,d128,R128*5,u64,u32,c9s1-3"
"""The paper's network for style transfer (supplementary table 1)."""

UPSCALE_4 = "c9s1-64,R64*4,u64,u64,c9s1-3"
"""The paper's network for super-resolution ×4 (supplementary table 2)."""

UPSCALE_8 = "c9s1-64,R64*4,u64,u64,u64,c9s1-3"
"""The paper's network for super-resolution ×8."""


class ArchitectureError(ValueError):
    """The notation does not describe a transform network; the message says what is accepted."""


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
class Transposed:
    """``t<filters>``: a transposed convolution 3×3 of stride 2, padded with zeros in every form: side × 2."""

    filters: int

    def __str__(self) -> str:
        return f"t{self.filters}"


@dataclass(frozen=True)
class Shuffle:
    """``p<factor>``: factor² channels become one channel of factor times the side."""

    factor: int

    def __str__(self) -> str:
        return f"p{self.factor}"


Layer = Convolution | Residual | Upsampling | Transposed | Shuffle

_NUMBER = "[0-9]{1,9}"
_TOKEN = re.compile(
    rf"(?:c(?P<kernel>{_NUMBER})s(?P<stride>{_NUMBER})-(?P<c>{_NUMBER})"
    rf"|d(?P<d>{_NUMBER})|R(?P<R>{_NUMBER})|u(?P<u>{_NUMBER})|t(?P<t>{_NUMBER})|p(?P<p>{_NUMBER}))"
    rf"(?:\*(?P<times>{_NUMBER}))?"
)

_MOST_TIMES = 64

_BOUNDS = {
    "kernel": ("its kernel is", 15),
    "stride": ("its stride is", 8),
    "p": ("its factor is", 8),
    "times": ("its repetitions are", _MOST_TIMES),
}
"""For each group of `_TOKEN`: the beginning of the error message, and the largest value."""

_FILTERS = ("its filters are", 1024)
"""The same for all groups that are numbers of filters."""

_MAX_SCALE_CHANGE = 64
"""Largest ratio of the side of a plane to that of the input, or the reverse."""


_MOST_LAYERS = 256

_MOST_WEIGHTS = 2**27
"""Of all convolutions: half a gigabyte in fp32, eighty times the paper's style network."""


@dataclass(frozen=True)
class Architecture:
    """The layers of a transform network, RGB in and RGB out, with an integer `scale`."""

    layers: tuple[Layer, ...]

    @classmethod
    def parse(cls, notation: str) -> "Architecture":
        """Parse the notation. Raises ArchitectureError if it is no RGB-to-RGB network within the bounds."""
        layers = (layer for token in notation.split(",") for layer in _parse_token(token.strip()))
        architecture = cls(tuple(islice(layers, _MOST_LAYERS + 1)))
        architecture._check_size()
        architecture._check()
        return architecture

    def __str__(self) -> str:
        return ",".join(_format_run(layer, len(list(run))) for layer, run in groupby(self.layers))

    @property
    def scale(self) -> int:
        """Output side over input side."""
        return int(self._exact_scale())

    @property
    def stride(self) -> int:
        """The smallest side in input pixels that is whole in every plane. Tiles begin at multiples of it."""
        return math.lcm(*(scale.denominator for scale in _cumulative_scales(self.layers)))

    @property
    def values_per_pixel(self) -> float:
        """Values per input pixel in the two largest adjacent planes, which a forward pass holds at the same time."""
        scales = [Fraction(1), *_cumulative_scales(self.layers)]
        widths = [*(width for _, width in self.channels()), 3]
        planes = [width * scale**2 for width, scale in zip(widths, scales, strict=True)]
        return float(max(before + after for before, after in pairwise(planes)))

    def channels(self) -> Iterator[tuple[Layer, int]]:
        """Each layer with its number of input channels."""
        width = 3
        for layer in self.layers:
            yield layer, width
            width = width // layer.factor**2 if isinstance(layer, Shuffle) else layer.filters

    def _exact_scale(self) -> Fraction:
        return list(_cumulative_scales(self.layers))[-1]

    def _check_size(self) -> None:
        if len(self.layers) > _MOST_LAYERS:
            raise ArchitectureError(f"{str(self)[:80]}… has more than {_MOST_LAYERS} layers")
        weights = sum(_weights(layer, width) for layer, width in self.channels())
        if weights > _MOST_WEIGHTS:
            raise ArchitectureError(f"{str(self)[:80]} has {weights:,} weights; at most {_MOST_WEIGHTS:,} are taken")

    def _check(self) -> None:
        for layer, width in self.channels():
            _check_layer(layer, width)
        if self.stride > _MAX_SCALE_CHANGE or max(_cumulative_scales(self.layers)) > _MAX_SCALE_CHANGE:
            raise ArchitectureError(
                f"{self}: planes are at most {_MAX_SCALE_CHANGE} times finer or coarser than the input"
            )
        if self._exact_scale().denominator != 1:
            raise ArchitectureError(f"{self}: the output must be 1, 2, 3 … times the input, not {self._exact_scale()}")
        last, width = list(self.channels())[-1]
        result = width // last.factor**2 if isinstance(last, Shuffle) else last.filters
        if result != 3:
            raise ArchitectureError(f"{self}: ends with {result} channels, where RGB has 3")


def _parse_token(token: str) -> list[Layer]:
    match = _TOKEN.fullmatch(token)
    if not match:
        raise ArchitectureError(f"{token!r} is no layer; layers look like c9s1-32, d64, R128, R128*5, u64, t64, p4")
    numbers = {name: int(digits) for name, digits in match.groupdict().items() if digits}
    times = numbers.pop("times", 1)
    if min(times, *numbers.values()) < 1:
        raise ArchitectureError(f"{token!r}: every number of a layer is at least 1")
    for name, number in (numbers | {"times": times}).items():
        what, bound = _BOUNDS.get(name, _FILTERS)
        if number > bound:
            raise ArchitectureError(f"{token!r}: {what} at most {bound}")
    return [_make_layer(numbers)] * times


def _make_layer(numbers: dict[str, int]) -> Layer:
    match numbers:
        case {"kernel": kernel, "stride": stride, "c": filters}:
            return Convolution(kernel, stride, filters)
        case {"d": filters}:
            return Convolution(3, 2, filters)
        case {"R": filters}:
            return Residual(filters)
        case {"u": filters}:
            return Upsampling(filters)
        case {"t": filters}:
            return Transposed(filters)
    return Shuffle(numbers["p"])


def _format_run(layer: Layer, times: int) -> str:
    """Equal layers in a row. Only residual blocks are abbreviated, as in the paper's tables."""
    most = _MOST_TIMES if isinstance(layer, Residual) else 1
    counts = [most] * (times // most) + [times % most] * (times % most > 0)
    return ",".join(f"{layer}*{count}" if count > 1 else str(layer) for count in counts)


def _cumulative_scales(layers: tuple[Layer, ...]) -> Iterator[Fraction]:
    """Side of the plane after each layer, over the side of the input."""
    scale = Fraction(1)
    for layer in layers:
        match layer:
            case Convolution(stride=stride):
                scale /= stride
            case Upsampling() | Transposed():
                scale *= 2
            case Shuffle(factor=factor):
                scale *= factor
        yield scale


def _weights(layer: Layer, width: int) -> int:
    """Of a layer's convolutions, which get `width` channels."""
    match layer:
        case Convolution(kernel=kernel, filters=filters):
            return kernel**2 * width * filters
        case Residual(filters=filters):
            return 2 * 9 * filters**2
        case Shuffle():
            return 0
    return 9 * width * layer.filters


def _check_layer(layer: Layer, width: int) -> None:
    match layer:
        case Convolution(kernel=kernel) if kernel % 2 == 0:
            raise ArchitectureError(f"{layer}: kernels have odd sides (3, 5, 7, 9)")
        case Residual(filters=filters) if filters != width:
            raise ArchitectureError(f"{layer} receives {width} channels; a residual block keeps their number")
        case Shuffle(factor=factor) if width % factor**2:
            raise ArchitectureError(f"{layer} receives {width} channels, not a multiple of {factor**2}")
