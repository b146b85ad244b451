"""Forms of thin layers: stride-1 convolutions of large kernels from or to the three channels of an image.

A matrix unit, or the vector unit of a processor, is mostly idle in them. The other forms compute the same sums with
zeros added, and so more arithmetic at a higher rate: a 9×9 convolution of 3 to 32 channels is, between planes whose
4×4 blocks of pixels are channels, a 3×3 convolution of 48 to 512 channels at a quarter of the side, with 1.8 times the
operations. Results differ by rounding only.
"""

from enum import StrEnum

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from model_store.networks.layers import ConvLayer, NormalizedConv, ThumbnailNorm, reflect

MIN_KERNEL = 5
"""Smallest kernel side that gains from blocks; with a 3×3 kernel the work would nearly double."""

MAX_THIN_CHANNELS = 4

CHANNEL_MULTIPLE = 8
"""Channels that the matrix units of a GPU take at a time in half precision: 16 bytes."""


class LayerForm(StrEnum):
    """How a thin layer is computed."""

    PLAIN = "plain"
    PADDED = "padded"
    """With channels of zeros, up to multiples of eight."""
    STRIDED = "strided"
    """Each 2×2 block of output pixels as channels, by a stride-2 convolution."""
    BLOCKED_2 = "blocked-2"
    """With 2×2 blocks of the input and of the output as channels, by a dense convolution."""
    BLOCKED_4 = "blocked-4"
    """The same with 4×4 blocks."""


def is_thin(layer: ConvLayer) -> bool:
    """Whether other forms can be faster than a plain convolution."""
    conv = layer.conv
    thin = min(conv.in_channels, conv.out_channels) <= MAX_THIN_CHANNELS
    return thin and conv.stride == (1, 1) and conv.kernel_size[0] >= MIN_KERNEL


def usual_form(layer: ConvLayer) -> LayerForm:
    """The form of a thin layer where nothing was measured."""
    return LayerForm.STRIDED if layer.conv.out_channels == 3 else LayerForm.PLAIN


def possible_forms(layer: ConvLayer) -> list[LayerForm]:
    """All forms of a thin layer. Normalised output channels are not padded: they have no statistics."""
    padded = isinstance(layer.norm, ThumbnailNorm) and layer.conv.out_channels % CHANNEL_MULTIPLE
    return [form for form in LayerForm if not (padded and form is LayerForm.PADDED)]


def in_form(layer: ConvLayer, form: LayerForm) -> NormalizedConv:
    """A thin layer in that form."""
    match form:
        case LayerForm.PLAIN:
            return layer
        case LayerForm.PADDED:
            return PaddedConv(layer)
        case LayerForm.STRIDED:
            return StridedConv(layer)
        case LayerForm.BLOCKED_2:
            return BlockedConv(layer, 2)
        case LayerForm.BLOCKED_4:
            return BlockedConv(layer, 4)


class _ThinConv(NormalizedConv):
    """A stride-1 convolution in another form, with the padding of the layer that it is made of."""

    conv: nn.Conv2d

    def __init__(
        self, layer: ConvLayer, weight: Tensor, bias: Tensor | None, *, block: int = 1, stride: int = 1
    ) -> None:
        """Its outputs are `block` × `block` pixels each."""
        filters, channels, side, _ = weight.shape
        conv = nn.Conv2d(channels, filters, side, stride, bias=False, device=weight.device)
        conv.weight = nn.Parameter(weight, requires_grad=False)
        conv.bias = None if bias is None else nn.Parameter(bias, requires_grad=False)
        super().__init__(conv, layer.norm, layer.relu, reflected=layer.reflected)
        self.block = block
        self.kernel = layer.conv.kernel_size[0]
        self.reflect_padding = layer.reflect_padding
        self.zero_padding = int(layer.conv.padding[0])

    def padded(self, x: Tensor, *, reflected: bool) -> tuple[Tensor, int, int]:
        """The input with its padding, and zeros at its far ends for whole blocks of outputs.

        Also returns height and width of the output without what these zeros add to it.
        """
        around, before = self.reflect_padding, self.zero_padding
        x = reflect(x, around, around, around, around) if reflected else x
        height, width = (side + 2 * before - self.kernel + 1 for side in x.shape[-2:])
        below, after = (before + self._missing(side) for side in (height, width))
        return _with_zeros(x, (before, after, before, below)), height, width

    def _missing(self, side: int) -> int:
        """Pixels that the input lacks for whole blocks, where the valid output has `side` of them."""
        reach = self.kernel - 1
        read = -(-reach // self.block) * self.block if self.conv.stride == (1, 1) else reach
        return -side % self.block + read - reach


class PaddedConv(_ThinConv):
    """With channels of zeros, up to multiples of eight, before and after."""

    def __init__(self, layer: ConvLayer) -> None:
        conv = layer.conv
        added = -conv.out_channels % CHANNEL_MULTIPLE
        weight = F.pad(conv.weight, (0, 0, 0, 0, 0, -conv.in_channels % CHANNEL_MULTIPLE, 0, added))
        bias = None if conv.bias is None else F.pad(conv.bias, (0, added))
        super().__init__(layer, weight, bias)
        self.filters = conv.out_channels

    def convolve(self, x: Tensor, weight: Tensor, bias: Tensor | None, *, reflected: bool) -> Tensor:
        padded, _, _ = self.padded(x, reflected=reflected)
        wide = F.pad(padded, (0, 0, 0, 0, 0, self.conv.in_channels - x.shape[1]))
        return F.conv2d(wide, weight, bias)[:, : self.filters]


class StridedConv(_ThinConv):
    """Computes 2×2 blocks of output pixels by a stride-2 convolution with a kernel that is one pixel larger."""

    def __init__(self, layer: ConvLayer) -> None:
        weight = _shifted(layer.conv.weight, 2, multiple=1)
        super().__init__(layer, weight, _repeated_bias(layer.conv, 4), block=2, stride=2)

    def convolve(self, x: Tensor, weight: Tensor, bias: Tensor | None, *, reflected: bool) -> Tensor:
        padded, height, width = self.padded(x, reflected=reflected)
        return to_pixels(F.conv2d(padded, weight, bias, stride=2), 2)[..., :height, :width]


class BlockedConv(_ThinConv):
    """A dense convolution between planes whose `block` × `block` blocks of pixels are channels."""

    def __init__(self, layer: ConvLayer, block: int) -> None:
        weight = F.pixel_unshuffle(_shifted(layer.conv.weight, block, multiple=block), block)
        super().__init__(layer, weight, _repeated_bias(layer.conv, block**2), block=block)

    def convolve(self, x: Tensor, weight: Tensor, bias: Tensor | None, *, reflected: bool) -> Tensor:
        padded, height, width = self.padded(x, reflected=reflected)
        blocks = to_blocks(padded, self.block)
        return to_pixels(F.conv2d(blocks, weight, bias), self.block)[..., :height, :width]


def _with_zeros(x: Tensor, added: tuple[int, int, int, int]) -> Tensor:
    """`F.pad`, which copies a plane also where nothing is added. A graph for planes of any size has it always."""
    for_any_size = torch.compiler.is_exporting() or torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]
    return F.pad(x, added) if for_any_size or any(added) else x


def to_blocks(x: Tensor, block: int) -> Tensor:
    """`F.pixel_unshuffle` in channels_last, by one copy on a GPU, too."""
    count, _, height, width = x.shape
    split: Tensor = x.unflatten(3, (-1, block)).unflatten(2, (-1, block))
    last = split.permute(0, 2, 4, 1, 3, 5).reshape(count, height // block, width // block, -1)
    return last.permute(0, 3, 1, 2)


def to_pixels(x: Tensor, block: int) -> Tensor:
    """`F.pixel_shuffle`, in channels_last for the layer that follows: on a GPU torch's own is not, and it would copy.

    Nothing follows that convolves the three channels of an image.
    """
    count, channels, height, width = x.shape
    if channels <= MAX_THIN_CHANNELS * block**2:
        return F.pixel_shuffle(x, block)
    split: Tensor = x.unflatten(1, (-1, block, block))
    last = split.permute(0, 4, 2, 5, 3, 1).reshape(count, height * block, width * block, -1)
    return last.permute(0, 3, 1, 2)


def _shifted(weight: Tensor, block: int, *, multiple: int) -> Tensor:
    """(F, C, k, k) to (F · block², C, K, K): one kernel for each pixel of a block of outputs, as they all read it.

    K is the least multiple of `multiple` that holds them.
    """
    kernel = weight.shape[-1]
    room = -(-(kernel + block - 1) // multiple) * multiple - kernel
    shifts = [(dx, room - dx, dy, room - dy) for dy in range(block) for dx in range(block)]
    return torch.stack([F.pad(weight, shift) for shift in shifts], 1).flatten(0, 1)


def _repeated_bias(conv: nn.Conv2d, times: int) -> Tensor | None:
    """The bias, if there is one, for each pixel of a block."""
    return None if conv.bias is None else conv.bias.repeat_interleave(times)
