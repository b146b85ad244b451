"""Transform networks: RGB [0, 1] NCHW in, RGB [0, 1] NCHW out, side × scale, for every size from 1×1 up."""

import math
from itertools import repeat
from typing import Literal, Self

import torch
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator
from torch import Tensor, nn
from torch.nn import functional as F

from model_store.networks.architecture import Architecture, Convolution, Layer, Residual, Transposed, Upsampling
from model_store.networks.geometry import Geometry
from model_store.networks.layers import (
    ConvLayer,
    Norm,
    Padding,
    ResidualBlock,
    ScaledTanh,
    ShuffleLayer,
    TransformLayer,
    TransposedLayer,
    Triple,
    UpsampleLayer,
    per_channel,
    reflect,
)
from model_store.networks.network import Network
from model_store.networks.noise import NOISE_PERIOD, noise_pattern, repeated
from model_store.networks.reduction import area_reduced, is_own_thumbnail, to_measure

Form = Literal["paper", "same", "native", "tensorflow"]

_BICUBIC_REACH = 2
"""Input pixels that bicubic interpolation reads on either side."""


class NetworkSpec(BaseModel):
    """Everything needed to build a transform network, except its weights."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    architecture: str = Field(description="layers in the notation of model_store.networks.architecture")
    norm: Norm = Field("batch", description="normalisation after each convolution but the last")
    form: Form = Field(
        "native",
        description="native: reflected once by a halo, then valid convolutions (tileable unless norm is instance); "
        "same: reflection inside the layers, the same weights; paper: as in the paper's tables; tensorflow: zeros "
        "inside the layers, as TensorFlow's SAME places them",
    )
    output: Literal["tanh", "linear"] = Field(
        "tanh", description="the map after the last layer; tanh is centred on 0.5, with skip on 0"
    )
    input_zero: Triple = Field(
        (0.5, 0.5, 0.5), description="the RGB that the layers see as 0, and so what padding with zeros means"
    )
    output_zero: Triple | None = Field(None, description="the RGB that tanh is centred on, if it is another one")
    last_norm: bool = Field(False, description="whether there is normalisation after the last convolution, too")
    skip: bool = Field(False, description="add the input, enlarged bicubically, to the output")
    thumbnail: int = Field(
        256,
        ge=16,
        le=1024,
        description="longest side, in pixels, of the thumbnail that thumbnail normalisation is measured on",
    )
    noise_channels: int = Field(
        0,
        ge=0,
        le=16,
        description="channels of noise that the first layer sees beside red, green and blue: what detail that nobody "
        "can know is made of, where without it a weave of the pixels would be",
    )

    @field_validator("architecture")
    @classmethod
    def _canonicalize(cls, notation: str) -> str:
        architecture = Architecture.parse(notation)
        Geometry.of(architecture)  # raises if the native form is impossible
        return str(architecture)

    @model_validator(mode="after")
    def _check_form(self) -> Self:
        if self.norm == "thumbnail" and self.form not in ("native", "same"):
            raise ValueError(f"thumbnail normalisation has the forms native and same, not {self.form}")
        layers = Architecture.parse(self.architecture).layers
        if self.form == "native" and any(isinstance(layer, Transposed) for layer in layers):
            raise ValueError(
                "a transposed convolution (t64) has no native form: its zeros would lie between tiles; u64 doubles, too"
            )
        if self.noise_channels and not isinstance(layers[0], Convolution):
            raise ValueError(
                f"noise channels are for a convolution as the first layer; {self.architecture} has another"
            )
        return self

    @property
    def tanh_centre(self) -> Triple:
        """The RGB that tanh is centred on."""
        if self.output_zero is not None:
            return self.output_zero
        return (0.0, 0.0, 0.0) if self.skip else (0.5, 0.5, 0.5)

    @property
    def scale(self) -> int:
        """Output side over input side."""
        return Architecture.parse(self.architecture).scale

    @property
    def tileable(self) -> bool:
        """Whether an output pixel depends only on its neighbourhood, and with thumbnail normalisation on the
        statistics of the image, never on the size of the plane."""
        return self.form == "native" and self.norm != "instance"

    @property
    def needs_whole_image(self) -> bool:
        """Whether an image may not be cut at all."""
        return not self.tileable

    @property
    def share_of_whole_pixels(self) -> float:
        """How large whole images may be, as a share of what the settings accept."""
        return 1.0

    @property
    def values_per_pixel(self) -> float:
        """Values per input pixel in the two largest adjacent planes, which a forward pass holds at the same time."""
        return Architecture.parse(self.architecture).values_per_pixel

    @property
    def halo(self) -> int:
        """Input pixels by which the native form reflects an image to the left and above."""
        return self.geometry.halo

    @property
    def geometry(self) -> Geometry:
        """Margins, crop and alignment of the native form."""
        reach = _BICUBIC_REACH if self.skip and self.scale > 1 else 0
        return Geometry.of(Architecture.parse(self.architecture), min_halo=reach)


class TransformNetwork(Network):
    """An image transformation network (paper §3.1, supplementary tables 1 and 2).

    Input and output are float32 RGB (N, 3, H, W) in [0, 1]; the output has scale × the side. The layers compute in the
    precision of their weights. The output is clamped except in training mode, where losses need its gradient.
    *same* and *native* networks of one architecture share their weights and agree away from the border.

    With thumbnail normalisation an image is first reduced to a thumbnail (see `area_reduced`), which runs through the
    network in the *same* form with instance normalisation. The mean and the variance of each channel there give the
    scale and the shift used for the image: the network is as local as one with batch normalisation, and for an image
    that is its own thumbnail, and has no plain parts, the result is exactly that of instance normalisation in the
    *same* form.
    """

    pads_planes = False

    def __init__(self, spec: NetworkSpec) -> None:
        super().__init__()
        architecture = Architecture.parse(spec.architecture)
        self.spec: NetworkSpec = spec
        self.scale = architecture.scale
        self.geometry = spec.geometry
        self.layers = nn.Sequential(*_build_layers(architecture, spec))
        self.output = ScaledTanh(spec.tanh_centre) if spec.output == "tanh" else nn.Identity()
        self._twice_zero: Tensor
        self.register_buffer("_twice_zero", 2 * per_channel(spec.input_zero), persistent=False)
        self._noise: Tensor
        self.register_buffer("_noise", noise_pattern(spec.noise_channels), persistent=False)
        self._init_last_convolution()

    @property
    def stride(self) -> int:
        """Tiles begin at multiples of it, in input pixels."""
        stride = self.geometry.stride
        return math.lcm(stride, NOISE_PERIOD) if self.spec.noise_channels else stride

    @property
    def needs_statistics(self) -> bool:
        """Whether `transform` requires the statistics of the image's thumbnail."""
        return self.spec.norm == "thumbnail"

    def forward(self, image: Tensor, statistics: Tensor | None = None, noise: Tensor | None = None) -> Tensor:
        """Stylize or enlarge an image: (N, 3, H, W) to (N, 3, H × scale, W × scale).

        A network that needs statistics takes those of the image's own thumbnail by default. For a part of a larger
        image pass those of the larger one. `noise`, (N, noise channels, H, W) for the form *same*: instead of its own.
        """
        height, width = image.shape[-2:]
        left, right = self.halos(width)
        top, bottom = self.halos(height)
        given = self._thumbnail_statistics(image) if statistics is None else statistics
        result = self._run_layers(reflect(image, left, right, top, bottom), given, noise)
        result = result[..., : height * self.scale, : width * self.scale]
        return result if self.training else result.clamp(0.0, 1.0)

    def statistics(self, thumbnail: Tensor) -> Tensor:
        """The statistics (N, 2, K), in float32, of thumbnails, float32 (N, 3, h, w) in [0, 1].

        They are the scales and shifts of the K normalised channels, from the first layer to the last: scale ×
        convolution + shift is normalised and includes the weight and the bias of the normalisation. White and black
        parts that are empty count as a tenth at most (see `without_plain_parts`), and a picture of one colour has grain
        (see `with_grain`).
        """
        return self.measure(to_measure(thumbnail))

    def measure(self, prepared: Tensor) -> Tensor:
        """`statistics` of thumbnails that went through `to_measure` already."""
        features = self._first_features(prepared)
        found = [prepared.new_empty(prepared.shape[0], 2, 0)]
        layers = self._transform_layers()
        last = max((i for i, layer in enumerate(layers, start=1) if layer.channels), default=0)
        for layer in layers[:last]:
            features, affine = layer.forward_and_measure(features)
            found.append(affine)
        return torch.cat(found, dim=2)

    @torch.no_grad()
    def _init_last_convolution(self) -> None:
        """Scale the weights of the last convolution by 0.1, so that training begins near grey, not in saturation."""
        last = [module for module in self.layers.modules() if isinstance(module, nn.Conv2d | nn.ConvTranspose2d)][-1]
        last.weight.mul_(0.1)
        if last.bias is not None:
            nn.init.constant_(last.bias, 0.5 if self.spec.output == "linear" and not self.spec.skip else 0.0)

    def halos(self, side: int) -> tuple[int, int]:
        """Pixels by which this form reflects an image of `side` pixels before its first layer."""
        match self.spec.form:
            case "native":
                return self.geometry.halos(side)
            case "paper":
                around = _paper_halo(Architecture.parse(self.spec.architecture))
                return around, around
            case "same" | "tensorflow":
                return 0, 0

    def transform(self, plane: Tensor, statistics: Tensor | None = None) -> Tensor:
        """Run the layers on a plane with its halos. The result is not clamped; its first pixel is the image's first.

        For a native, tileable network any part of the plane that begins at a multiple of `stride` gives the
        corresponding part of the result. `statistics` are (N, 2, K), or (1, 2, K) if all N planes are parts of one
        image. Raises ValueError if the network needs them and they are missing.
        """
        if self.needs_statistics and statistics is None:
            raise ValueError("a network with thumbnail normalisation takes the statistics of the image's thumbnail")
        return self._run_layers(plane, statistics)

    def _thumbnail_statistics(self, image: Tensor) -> Tensor | None:
        """The statistics of the image's thumbnail; None if none are needed or the layers measure the image itself."""
        if not self.needs_statistics:
            return None
        height, width = image.shape[-2:]
        if self.spec.form == "same" and is_own_thumbnail(height, width, self.spec.thumbnail):
            return None
        return self.statistics(area_reduced(image, self.spec.thumbnail))

    def _transform_layers(self) -> list[TransformLayer]:
        return [layer for layer in self.layers if isinstance(layer, TransformLayer)]

    def _first_features(self, plane: Tensor, noise: Tensor | None = None) -> Tensor:
        """What the first layer sees, in the precision of the weights.

        That is [0, 1] mapped to [-1, 1], or so that `input_zero` becomes 0, and the noise: its own by default.
        """
        precision = next(self.layers.parameters()).dtype
        mapped = (plane * 2).sub_(self._twice_zero).to(precision)
        if not self.spec.noise_channels:
            return mapped
        own = self.own_noise(plane) if noise is None else noise
        together = torch.cat([mapped, own.to(precision)], dim=1)
        if torch.compiler.is_exporting():
            return together  # a graph that asks for a layout takes no single image beside batches
        return together.contiguous(memory_format=torch.channels_last)

    def own_noise(self, plane: Tensor) -> Tensor:
        """The network's own noise for a plane with its halos; the image's first pixel always has the same."""
        noise = repeated(self._noise, -self.halos(1)[0], *plane.shape[-2:])
        return noise.expand(plane.shape[0], -1, -1, -1)

    def _run_layers(self, plane: Tensor, statistics: Tensor | None, noise: Tensor | None = None) -> Tensor:
        """As `transform`, but without statistics each layer normalises the plane by its own."""
        features = self._first_features(plane, noise)
        layers = self._transform_layers()
        parts = repeat(None) if statistics is None else statistics.split([layer.channels for layer in layers], dim=2)
        for layer, affine in zip(layers, parts, strict=False):
            features = layer(features, affine)
        crop = self.geometry.crop if self.spec.form == "native" else 0
        result: Tensor = self.output(features[..., crop:, crop:].float())
        return self._add_skip(result, plane) if self.spec.skip else result

    def _add_skip(self, result: Tensor, plane: Tensor) -> Tensor:
        """Add the plane, enlarged bicubically (Keys 1981, a = -1/2) if the scale is not 1, to the result."""
        enlarged = plane if self.scale == 1 else _enlarge_bicubic(plane, self.scale)
        begin = self.halos(1)[0] * self.scale
        enlarged = enlarged[..., begin:, begin:]
        height, width = (min(sides) for sides in zip(result.shape[-2:], enlarged.shape[-2:], strict=True))
        return result[..., :height, :width] + enlarged[..., :height, :width]


def _enlarge_bicubic(plane: Tensor, scale: int) -> Tensor:
    """Enlarge in contiguous layout, which takes torch half as long on a CPU as channels_last with three channels."""
    return F.interpolate(plane.contiguous(), scale_factor=float(scale), mode="bicubic", antialias=True)


def _build_layers(architecture: Architecture, spec: NetworkSpec) -> list[TransformLayer]:
    last = max(
        i for i, layer in enumerate(architecture.layers) if isinstance(layer, Convolution | Upsampling | Transposed)
    )
    built = []
    for i, (layer, width) in enumerate(architecture.channels()):
        channels = width if i else width + spec.noise_channels
        norm = spec.norm if i != last or spec.last_norm else "none"
        padding = _choose_padding(layer, architecture, spec.form)
        built.append(_build_layer(layer, channels, norm, spec.form, padding, relu=i != last))
    return built


def _build_layer(layer: Layer, channels: int, norm: Norm, form: Form, padding: Padding, relu: bool) -> TransformLayer:
    match layer:
        case Convolution(kernel, stride, filters):
            return ConvLayer(channels, filters, kernel, stride, padding=padding, norm=norm, relu=relu)
        case Residual(filters):
            return ResidualBlock(filters, padding=padding, norm=norm)
        case Upsampling(filters) if form in ("paper", "tensorflow"):
            return TransposedLayer(
                channels, filters, norm=norm, padding="same-zero" if form == "tensorflow" else "zero"
            )
        case Transposed(filters):
            return TransposedLayer(channels, filters, norm=norm)
        case Upsampling(filters):
            return UpsampleLayer(channels, filters, padding=padding, norm=norm)
    return ShuffleLayer(layer.factor)


def _choose_padding(layer: Layer, architecture: Architecture, form: Form) -> Padding:
    if form == "native":
        return "valid"
    if form == "same":
        return "reflection"
    if form == "tensorflow":
        return "same-zero" if isinstance(layer, Convolution) and layer.stride > 1 else "zero"
    return "valid" if isinstance(layer, Residual) and architecture.scale == 1 else "zero"


def _paper_halo(architecture: Architecture) -> int:
    """Input pixels on each side that valid residual blocks of a style network remove: 2 × stride each (paper: 40)."""
    blocks = sum(isinstance(layer, Residual) for layer in architecture.layers)
    return 2 * blocks * architecture.stride if architecture.scale == 1 else 0
