"""Margins, crops and tile alignment of networks whose convolutions are valid."""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

from model_store.networks.architecture import Architecture, ArchitectureError, Convolution, Residual, Shuffle


@dataclass(frozen=True)
class _ValidConvolution:
    """A convolution without padding."""

    kernel: int
    stride: int


@dataclass(frozen=True)
class _Enlargement:
    """Each pixel becomes `factor` pixels per axis."""

    factor: int


_Step = _ValidConvolution | _Enlargement


@dataclass(frozen=True)
class Geometry:
    """One axis of the *native* form: the image is reflected by a halo, then convolved without padding.

    The plane is `halo` pixels, the N pixels of the image and enough pixels after them. Of its output the first
    `crop` pixels are dropped; the next N × scale belong to the image. A tile of the plane that begins at image
    coordinate x, a multiple of `stride`, gives the output from x × scale on, exactly as the whole plane does.
    There are at least `min_halo` pixels before and after the image.
    """

    halo: int
    crop: int
    stride: int
    scale: int
    min_halo: int
    steps: tuple[_Step, ...]

    @classmethod
    def of(cls, architecture: Architecture, min_halo: int = 0) -> "Geometry":
        """The geometry with the smallest halo, of at least `min_halo`, for which every stride meets whole pixels.

        Such halos are one `stride` apart. Raises ArchitectureError if there is none.
        """
        steps, stride, scale = tuple(_steps(architecture)), architecture.stride, architecture.scale
        origins = {halo: _output_origin(steps, halo) for halo in range(min_halo, min_halo + stride)}
        for halo, origin in origins.items():
            if origin is not None:
                extra_strides = max(0, -(-origin // (stride * scale)))
                added = extra_strides * stride
                return cls(halo + added, added * scale - origin, stride, scale, min_halo, steps)
        raise ArchitectureError(f"{architecture}: with every halo, some stride falls between pixels")

    def plane(self, side: int) -> int:
        """Length of the padded plane that gives `side` × scale output pixels."""
        length = self.crop + side * self.scale
        for step in reversed(self.steps):
            match step:
                case _ValidConvolution(kernel, stride):
                    length = (length - 1) * stride + kernel
                case _Enlargement(factor):
                    length = (length + factor - 1) // factor  # -(-length // factor) is exported to ONNX as truncating
        return max(length, self.halo + side + self.min_halo)

    def halos(self, side: int) -> tuple[int, int]:
        """Pixels to reflect before and after an image of `side` pixels."""
        return self.halo, self.plane(side) - self.halo - side


def _steps(architecture: Architecture) -> Iterator[_Step]:
    for layer in architecture.layers:
        match layer:
            case Convolution(kernel, stride, _):
                yield _ValidConvolution(kernel, stride)
            case Residual():
                yield from (_ValidConvolution(3, 1), _ValidConvolution(3, 1))
            case Shuffle(factor):
                yield _Enlargement(factor)
            case _:
                yield from (_Enlargement(2), _ValidConvolution(3, 1))


def _output_origin(steps: tuple[_Step, ...], halo: int) -> int | None:
    """The output coordinate of the first output pixel, None if a stride falls between pixels.

    Coordinates are those of the *same* form, where output pixel i of a convolution is centred on pixel i × stride.
    """
    origin = Fraction(-halo)
    for step in steps:
        match step:
            case _ValidConvolution(kernel, stride):
                origin = (origin + kernel // 2) / stride
            case _Enlargement(factor):
                origin *= factor
        if origin.denominator != 1:
            return None
    return int(origin)
