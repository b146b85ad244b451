"""Golden pairs: an input of a network and its recorded output, which a device must reproduce."""

from dataclasses import dataclass

import torch
from torch import Tensor

from model_store.errors import GoldenMismatch
from model_store.networks.network import Network
from model_store.networks.precision import PRECISIONS

FP32_TOLERANCE = 1e-4
"""Largest absolute difference in fp32, of values in [0, 1]."""

HALF_PRECISION_PSNR = 45.0
"""Lowest PSNR of bf16 and fp16 against fp32, in dB; measured values are 53 and more."""

FAITHFUL_DIFFERENCE = 2 / 255
"""Largest difference of bf16 and fp16 from fp32 where the answers of an imported network are to be its original's.

Measured with Compact, SPAN and RRDB: 0.3 to 0.6 levels of 255 in fp16, 3 to 7 in bf16.
"""


@dataclass(frozen=True)
class Golden:
    """`input`: uint8 (H, W, 3). `output`: float32 (1, 3, H × scale, W × scale) in [0, 1], computed in fp32."""

    input: Tensor
    output: Tensor

    @classmethod
    def of(cls, network: Network, image: Tensor | None = None) -> "Golden":
        """Run `network` in evaluation mode on `image`, uint8 (H, W, 3), by default `pattern()`."""
        pixels = pattern() if image is None else image
        with torch.inference_mode():
            return cls(pixels, network.eval()(as_batch(pixels)).clone())

    def batch(self) -> Tensor:
        """The input as a batch: float32 (1, 3, H, W) in [0, 1]."""
        return as_batch(self.input)

    def check(self, output: Tensor, precision: torch.dtype = torch.float32, *, faithful: bool = False) -> None:
        """Raise GoldenMismatch if `output`, computed in `precision`, has another shape or differs too much.

        The limit is FP32_TOLERANCE in fp32 and HALF_PRECISION_PSNR in other precisions, and there for a `faithful`
        output FAITHFUL_DIFFERENCE as well. NaN exceeds all of them.
        """
        if output.shape != self.output.shape:
            raise GoldenMismatch(f"the output is {tuple(output.shape)}, not {tuple(self.output.shape)}")
        difference = output.detach().float().cpu() - self.output
        if precision == torch.float32:
            _check_largest_difference(difference, FP32_TOLERANCE, precision)
            return
        _check_psnr(difference)
        if faithful:
            _check_largest_difference(difference, FAITHFUL_DIFFERENCE, precision)


def as_batch(pixels: Tensor) -> Tensor:
    """uint8 (H, W, 3) → float32 (1, 3, H, W) in [0, 1]."""
    return pixels.permute(2, 0, 1)[None].float() / 255


def pattern(height: int = 61, width: int = 83) -> Tensor:
    """A deterministic uint8 (H, W, 3) picture with ramps, rings and noise. The default sides are not multiples of 4."""
    rows = torch.linspace(0, 1, height)[:, None].expand(height, width)
    columns = torch.linspace(0, 1, width)[None, :].expand(height, width)
    rings = 0.5 + 0.5 * torch.cos(40 * ((rows - 0.5) ** 2 + (columns - 0.5) ** 2))
    noise = torch.rand(height, width, generator=torch.Generator().manual_seed(0))
    picture = torch.stack([rows, rings, 0.7 * columns + 0.3 * noise], dim=-1)
    return (picture * 255).round().to(torch.uint8)


def _check_largest_difference(difference: Tensor, most: float, precision: torch.dtype) -> None:
    largest = difference.abs().max().item()
    if not largest <= most:
        raise GoldenMismatch(f"the largest difference is {largest:.2e}, over {most:.0e} ({_name(precision)})")


def _name(precision: torch.dtype) -> str:
    return next(name for name, each in PRECISIONS.items() if each == precision)


def _check_psnr(difference: Tensor) -> None:
    psnr = -10 * torch.log10(difference.square().mean().clamp_min(1e-12)).item()
    if not psnr >= HALF_PRECISION_PSNR:
        raise GoldenMismatch(f"the output agrees to {psnr:.1f} dB, under {HALF_PRECISION_PSNR:.0f} dB")
