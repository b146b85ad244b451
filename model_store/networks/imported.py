"""A network of somebody else that enlarges or restores images, behind the interface of our own."""

import copy
from typing import Literal, Protocol

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from model_store.networks.imported_rewrites import lay_out_channels_last, rewrite_for_inference
from model_store.networks.network import Network

LUMA = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in grey, as ITU-R BT.601, Pillow and OpenCV have them."""

PAPER_VALUES = 48
"""Values per pixel of the paper's style network."""


class ImportedSpec(BaseModel):
    """What is known of an imported network without its weights; tiles and memory were measured at its import."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    package: Literal["spandrel"] = Field(description="the Python package that builds the network from its weights")
    architecture: str = Field(min_length=1, max_length=64, description="what that package calls its architecture")
    scale: int = Field(ge=1, le=16, description="output side over input side; 1 for a network that restores")
    channels: Literal[1, 3] = Field(
        3, description="1: a network of grey images, which gets the luma of RGB, and whose answer is grey"
    )
    tiles: Literal["exact", "overlapping", "none"] = Field(
        description="exact: the network is local, and tiles give what the whole image gives; overlapping: it is not, "
        "and at the edges of tiles it may differ by as much as `seam`; none: `seam` would be seen, images stay whole"
    )
    halo: int = Field(ge=0, le=1024, description="input pixels around a tile that it is computed with")
    stride: int = Field(ge=1, le=1024, description="planes of tiles begin at multiples of it, such as the windows")
    seam: float = Field(
        0.0, ge=0, description="largest difference between tiles and the whole of a test image, in levels of 255"
    )
    values_per_pixel: float = Field(
        gt=0, description="values per input pixel of the largest input and output of a layer"
    )
    half_precision: bool = Field(description="whether bf16 reproduces the output; otherwise it always runs in fp32")
    parameters: int = Field(ge=1)

    @property
    def tileable(self) -> bool:
        """Whether tiles of an image give exactly what the whole image gives."""
        return self.tiles == "exact"

    @property
    def needs_whole_image(self) -> bool:
        """Whether an image may not be cut at all."""
        return self.tiles == "none"

    @property
    def share_of_whole_pixels(self) -> float:
        """How large whole images may be, as a share of what a network may get that has PAPER_VALUES per pixel."""
        return min(1.0, PAPER_VALUES / self.values_per_pixel)


class Enlarger(Protocol):
    """A network as its package describes it, in spandrel an ImageModelDescriptor."""

    @property
    def model(self) -> nn.Module:
        """The layers."""

    def __call__(self, image: Tensor, /) -> Tensor:
        """Enlarge an image: (1, C, H, W) to (1, C, H × scale, W × scale), in the precision of the weights."""


def enlarge_rgb(enlarger: Enlarger, image: Tensor, channels: int) -> Tensor:
    """RGB, float32 (1, 3, H, W), through a network of so many channels: (1, 3, H × scale, W × scale), float32.

    The network gets a copy: some, such as RCAN, change their input.
    """
    weights = next(enlarger.model.parameters())
    if channels == 1:
        return enlarger(luma(image).to(weights.dtype)).float().repeat(1, 3, 1, 1)
    return enlarger(image.to(weights.dtype, copy=True)).float()


def luma(image: Tensor) -> Tensor:
    """The grey of RGB, (N, 3, H, W), as (N, 1, H, W). What is grey stays as it is, to the last bit."""
    green = image[:, 1:2]
    return green + ((image - green) * image.new_tensor(LUMA)[:, None, None]).sum(1, keepdim=True)


class ImportedNetwork(Network):
    """A network that pads planes as it pads images: at the border of an image its tiles end there, too."""

    needs_statistics = False
    pads_planes = True

    def __init__(self, spec: ImportedSpec, enlarger: Enlarger) -> None:
        super().__init__()
        self.spec: ImportedSpec = spec
        self.scale = spec.scale
        self.model = enlarger.model.eval().requires_grad_(False)
        self.enlarger = enlarger

    @property
    def stride(self) -> int:
        """Planes of tiles begin at multiples of it, in input pixels."""
        return self.spec.stride

    def forward(self, image: Tensor, statistics: Tensor | None = None) -> Tensor:
        """Enlarge an image: (N, 3, H, W) to (N, 3, H × scale, W × scale)."""
        return self.transform(image, statistics).clamp(0.0, 1.0)

    def transform(self, plane: Tensor, statistics: Tensor | None = None) -> Tensor:  # noqa: ARG002
        """Enlarge a plane, with the padding of the network's own at each of its sides.

        Each of a batch by itself: some networks take no more than one.
        """
        each = [enlarge_rgb(self.enlarger, one, self.spec.channels) for one in plane.split(1)]
        return each[0] if len(each) == 1 else torch.cat(each)

    def halos(self, side: int) -> tuple[int, int]:  # noqa: ARG002
        """None: images are not reflected."""
        return 0, 0

    def for_inference(self, precision: torch.dtype) -> "ImportedNetwork":
        """A rewritten copy in channels_last, in `precision` where that reproduces the output, otherwise in fp32."""
        fast = copy.deepcopy(self)
        rewrite_for_inference(fast.model)
        fast.model.to(precision if self.spec.half_precision else torch.float32)
        lay_out_channels_last(fast.model)
        return fast
