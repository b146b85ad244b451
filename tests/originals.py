"""Style networks of other projects, as their authors describe them: plain modules, a few channels wide."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.torch7 import Layer

WIDTHS = (4, 6, 8)
"""Filters of the three convolutions before the residual blocks."""

BLOCKS = 5

SIZES = [(16, 24), (31, 45), (50, 33)]
"""Height and width of test images: multiples of four, and none."""


def randomized(network: nn.Module, seed: int = 0) -> nn.Module:
    """With weights that keep a signal from layer to layer, and scales and shifts of their own, in evaluation mode."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in network.parameters():
        fan = parameter[0].numel()
        if parameter.dim() == 4:
            parameter.data = torch.randn(parameter.shape, generator=generator) / fan**0.5
        else:
            parameter.data = 0.5 + torch.rand(parameter.shape, generator=generator)
    return network.eval()


class Normalization(nn.Module):
    """Instance normalisation by hand, with parameters of any name and any epsilon."""

    def __init__(self, channels: int, epsilon: float, scale: str, shift: str) -> None:
        super().__init__()
        self.epsilon, self.names = epsilon, (scale, shift)
        for name in self.names:
            self.register_parameter(name, nn.Parameter(torch.ones(channels)))

    def forward(self, x: Tensor) -> Tensor:
        variance, mean = torch.var_mean(x, (2, 3), correction=0, keepdim=True)
        scale, shift = (getattr(self, name)[:, None, None] for name in self.names)
        result: Tensor = (x - mean) / torch.sqrt(variance + self.epsilon) * scale + shift
        return result


Norm = Callable[[int], nn.Module]


def torch_norm(channels: int) -> nn.Module:
    return nn.InstanceNorm2d(channels, affine=True)


def hand_norm(channels: int) -> nn.Module:
    return Normalization(channels, 1e-9, "scale", "shift")


class ReflectingConv(nn.Module):
    """Reflection, a convolution, and before them perhaps an enlargement; the convolution lies at `key`."""

    def __init__(self, channels: int, filters: int, kernel: int, stride: int = 1, upsample: int = 1) -> None:
        super().__init__()
        self.padding, self.upsample = kernel // 2, upsample
        self.conv2d = nn.Conv2d(channels, filters, kernel, stride)

    def forward(self, x: Tensor) -> Tensor:
        if self.upsample > 1:
            x = F.interpolate(x, scale_factor=float(self.upsample), mode="nearest")
        result: Tensor = self.conv2d(F.pad(x, (self.padding,) * 4, mode="reflect"))
        return result


class Block(nn.Module):
    def __init__(self, channels: int, norm: Norm) -> None:
        super().__init__()
        self.conv1, self.conv2 = (ReflectingConv(channels, channels, 3) for _ in range(2))
        self.in1, self.in2 = norm(channels), norm(channels)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = x + self.in2(self.conv2(torch.relu(self.in1(self.conv1(x)))))
        return result


class Enlarging(nn.Module):
    """The upsampling layer of gordicaleksa, whose convolution lies one level deeper."""

    def __init__(self, channels: int, filters: int) -> None:
        super().__init__()
        self.conv2d = ReflectingConv(channels, filters, 3)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.conv2d(F.interpolate(x, scale_factor=2.0, mode="nearest"))
        return result


class FastNeuralStyle(nn.Module):
    """The network of pytorch/examples, and of abhiskk before it."""

    def __init__(
        self,
        norm: Norm = torch_norm,
        up: tuple[str, str, str] = ("deconv1", "deconv2", "deconv3"),
        widths: tuple[int, int, int] = WIDTHS,
        blocks: int = BLOCKS,
    ) -> None:
        super().__init__()
        one, two, three = widths
        self.conv1, self.in1 = ReflectingConv(3, one, 9), norm(one)
        self.conv2, self.in2 = ReflectingConv(one, two, 3, 2), norm(two)
        self.conv3, self.in3 = ReflectingConv(two, three, 3, 2), norm(three)
        self.blocks = [f"res{number}" for number in range(1, blocks + 1)]
        for name in self.blocks:
            self.add_module(name, Block(three, norm))
        deep, self.up = up[0] == "up1", up
        self.add_module(up[0], Enlarging(three, two) if deep else ReflectingConv(three, two, 3, upsample=2))
        self.in4 = norm(two)
        self.add_module(up[1], Enlarging(two, one) if deep else ReflectingConv(two, one, 3, upsample=2))
        self.in5 = norm(one)
        self.add_module(up[2], ReflectingConv(one, 3, 9))

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.in1(self.conv1(x)))
        x = torch.relu(self.in2(self.conv2(x)))
        x = torch.relu(self.in3(self.conv3(x)))
        for name in self.blocks:
            x = self.get_submodule(name)(x)
        x = torch.relu(self.in4(self.get_submodule(self.up[0])(x)))
        x = torch.relu(self.in5(self.get_submodule(self.up[1])(x)))
        result: Tensor = self.get_submodule(self.up[2])(x)
        return result


class Unit(nn.Module):
    """A layer of rrmina: reflection, convolution and perhaps normalisation, or a transposed convolution."""

    def __init__(self, channels: int, filters: int, kernel: int, stride: int = 1, *, norm: bool = True) -> None:
        super().__init__()
        self.padding = kernel // 2
        self.conv_layer = nn.Conv2d(channels, filters, kernel, stride)
        self.norm_layer = torch_norm(filters) if norm else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.norm_layer(self.conv_layer(F.pad(x, (self.padding,) * 4, mode="reflect")))
        return result


class TransposedUnit(nn.Module):
    def __init__(self, channels: int, filters: int) -> None:
        super().__init__()
        self.conv_transpose = nn.ConvTranspose2d(channels, filters, 3, 2, 1, 1)
        self.norm_layer = torch_norm(filters)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.norm_layer(self.conv_transpose(x))
        return result


class ResidualUnit(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1, self.conv2 = Unit(channels, channels, 3), Unit(channels, channels, 3)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = x + self.conv2(torch.relu(self.conv1(x)))
        return result


class Rrmina(nn.Module):
    """The network of rrmina/fast-neural-style-pytorch, whose variant with tanh ends in 150 · tanh."""

    def __init__(self, *, tanh: bool) -> None:
        super().__init__()
        one, two, three = WIDTHS
        self.tanh = tanh
        down = [Unit(3, one, 9), Unit(one, two, 3, 2), Unit(two, three, 3, 2)]
        up = [TransposedUnit(three, two), TransposedUnit(two, one)]
        self.ConvBlock = nn.Sequential(*(each for unit in down for each in (unit, nn.ReLU())))
        self.ResidualBlock = nn.Sequential(*(ResidualUnit(three) for _ in range(BLOCKS)))
        ends = [each for unit in up for each in (unit, nn.ReLU())]
        self.DeconvBlock = nn.Sequential(*ends, Unit(one, 3, 9, norm=False))

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.DeconvBlock(self.ResidualBlock(self.ConvBlock(x)))
        return 150 * torch.tanh(result) if self.tanh else result


def same_zeros(x: Tensor, kernel: int, stride: int) -> Tensor:
    """TensorFlow's SAME: at stride 2 and an even side one zero after, at an odd side one on either end."""
    pads = []
    for side in (x.shape[-1], x.shape[-2]):
        total = kernel // 2 * 2 if stride == 1 else 1 + side % 2
        pads += [total // 2, total - total // 2]
    return F.pad(x, pads)


class Lengstrom:
    """The network of lengstrom/fast-style-transfer: arrays in the order in which TensorFlow creates them."""

    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(0)
        one, two, three = WIDTHS
        convolutions = [(9, 3, one), (3, one, two), (3, two, three), *[(3, three, three)] * 2 * BLOCKS]
        shapes = [(kernel, kernel, channels, filters) for kernel, channels, filters in convolutions]
        shapes += [(3, 3, two, three), (3, 3, one, two), (9, 9, one, 3)]
        self.arrays: list[Tensor] = []
        for position, (height, width, channels, filters) in enumerate(shapes):
            outputs, inputs = (
                (channels, filters) if position in (len(shapes) - 3, len(shapes) - 2) else (filters, channels)
            )
            fan = (height * width * inputs) ** 0.5
            self.arrays.append(torch.randn(height, width, channels, filters, generator=generator) / 100 / fan)
            self.arrays.append(torch.randn(outputs, generator=generator) / 5)
            self.arrays.append(0.5 + torch.rand(outputs, generator=generator) / 2)

    def __call__(self, x: Tensor) -> Tensor:
        """RGB 0 to 255 in and out."""
        triples = [self.arrays[first : first + 3] for first in range(0, len(self.arrays), 3)]
        for stride, triple in zip((1, 2, 2), triples[:3], strict=True):
            x = torch.relu(self._convolution(x, triple, stride))
        for block in range(BLOCKS):
            first, second = triples[3 + 2 * block : 5 + 2 * block]
            x = x + self._convolution(torch.relu(self._convolution(x, first, 1)), second, 1)
        for triple in triples[-3:-1]:
            x = torch.relu(self._transposed(x, triple))
        return torch.tanh(self._convolution(x, triples[-1], 1)) * 150 + 255 / 2

    def _convolution(self, x: Tensor, triple: list[Tensor], stride: int) -> Tensor:
        kernel = triple[0].permute(3, 2, 0, 1)
        return self._normalized(F.conv2d(same_zeros(x, kernel.shape[-1], stride), kernel, stride=stride), triple)

    def _transposed(self, x: Tensor, triple: list[Tensor]) -> Tensor:
        """The gradient of a convolution of stride 2 with SAME, whose input has twice the sides."""
        full = F.conv_transpose2d(x, triple[0].permute(3, 2, 0, 1), stride=2)
        return self._normalized(full[..., : 2 * x.shape[-2], : 2 * x.shape[-1]], triple)

    def _normalized(self, x: Tensor, triple: list[Tensor]) -> Tensor:
        variance, mean = torch.var_mean(x, (2, 3), correction=0, keepdim=True)
        _, shift, scale = triple
        return (x - mean) / torch.sqrt(variance + 1e-3) * scale[:, None, None] + shift[:, None, None]


class JohnsonBlock(nn.Module):
    """Valid convolutions, added to their input without its two border pixels."""

    def __init__(self, channels: int, norm: Norm) -> None:
        super().__init__()
        self.branch = nn.Sequential(
            nn.Conv2d(channels, channels, 3),
            norm(channels),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 3),
            norm(channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.branch(x) + x[..., 2:-2, 2:-2]
        return result


class Johnson(nn.Module):
    """The network of jcjohnson/fast-neural-style: BGR 0 to 255 less Caffe's mean, in and out."""

    def __init__(self, norm: Norm) -> None:
        super().__init__()
        one, two, three = WIDTHS
        self.down = nn.Sequential(
            *(nn.Conv2d(3, one, 9, 1, 4), norm(one), nn.ReLU()),
            *(nn.Conv2d(one, two, 3, 2, 1), norm(two), nn.ReLU()),
            *(nn.Conv2d(two, three, 3, 2, 1), norm(three), nn.ReLU()),
        )
        self.blocks = nn.Sequential(*(JohnsonBlock(three, norm) for _ in range(BLOCKS)))
        self.up = nn.Sequential(
            *(nn.ConvTranspose2d(three, two, 3, 2, 1, 1), norm(two), nn.ReLU()),
            *(nn.ConvTranspose2d(two, one, 3, 2, 1, 1), norm(one), nn.ReLU()),
            nn.Conv2d(one, 3, 9, 1, 4),
        )

    def forward(self, x: Tensor) -> Tensor:
        around = F.pad(x, (40,) * 4, mode="reflect")
        result: Tensor = 150 * torch.tanh(self.up(self.blocks(self.down(around))))
        return result

    def as_torch7(self) -> Layer:
        """As Torch7 saves it."""
        blocks = [
            branches
            for block in self.blocks
            for branches in (
                _modules(
                    "nn.ConcatTable", [_modules("nn.Sequential", _layers(block.get_submodule("branch"))), _shaved()]
                ),
                Layer("nn.CAddTable", {"inplace": False}),
            )
        ]
        end = [Layer("nn.Tanh", {}), Layer("nn.MulConstant", {"constant_scalar": 150}), Layer("nn.TotalVariation", {})]
        start = Layer("nn.SpatialReflectionPadding", {"pad_l": 40, "pad_r": 40, "pad_t": 40, "pad_b": 40})
        whole = [start, *_layers(self.down), *blocks, *_layers(self.up), *end]
        return _modules("nn.Sequential", whole)


def _shaved() -> Layer:
    return Layer("nn.ShaveImage", {"size": 2})


def _modules(kind: str, layers: list[Layer]) -> Layer:
    return Layer(kind, {"modules": dict(enumerate(layers, 1))})


def _layers(modules: nn.Module) -> list[Layer]:
    kinds = {
        nn.Conv2d: "nn.SpatialConvolution",
        nn.ConvTranspose2d: "nn.SpatialFullConvolution",
        nn.BatchNorm2d: "nn.SpatialBatchNormalization",
        nn.InstanceNorm2d: "nn.InstanceNormalization",
        nn.ReLU: "nn.ReLU",
    }
    found = [(kinds[type(module)], dict(module.state_dict())) for module in modules.children()]
    return [Layer(kind, {key: each for key, each in state.items() if each.dim()}) for kind, state in found]
