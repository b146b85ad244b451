"""Where the pixels of a network of valid convolutions come from: margins, crops and the alignment of tiles."""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

from model_store.networks.architecture import Architecture, ArchitectureError, Convolution, Residual, Shuffle


@dataclass(frozen=True)
class _Valid:
    """A valid convolution: `kernel` pixels become one, `stride` pixels apart."""

    kernel: int
    stride: int


@dataclass(frozen=True)
class _Enlarge:
    """Each pixel becomes `factor` pixels on a side."""

    factor: int


_Step = _Valid | _Enlarge


@dataclass(frozen=True)
class Geometry:
    """One side of the *native* form: reflect the image by a margin, then convolve without padding.

    The result of `margin` pixels, N pixels and enough pixels after them is an output plane whose first
    `crop` pixels are dropped; the next N × scale are the image's. A tile of the plane that begins at image
    coordinate x, a multiple of `stride`, gives the output from x × scale on, exactly as the whole plane does.
    """

    margin: int
    crop: int
    stride: int
    scale: int
    at_least: int
    steps: tuple[_Step, ...]

    @classmethod
    def of(cls, architecture: Architecture, at_least: int = 0) -> "Geometry":
        """The smallest margin for which every layer's pixels fall on the grid, on no side below `at_least`.

        Margins that do so are one `stride` apart. Raises ArchitectureError where there are none.
        """
        steps, stride, scale = tuple(_steps(architecture)), architecture.stride, architecture.scale
        origins = {margin: _origin(steps, margin) for margin in range(at_least, at_least + stride)}
        for margin, origin in origins.items():
            if origin is not None:
                more = max(0, -(-origin // (stride * scale)))
                return cls(margin + more * stride, more * stride * scale - origin, stride, scale, at_least, steps)
        raise ArchitectureError(f"{architecture}: with every margin, some stride falls between pixels")

    def plane(self, side: int) -> int:
        """Pixels of the padded plane that give `side` × scale output pixels."""
        length = self.crop + side * self.scale
        for step in reversed(self.steps):
            match step:
                case _Valid(kernel, stride):
                    length = (length - 1) * stride + kernel
                case _Enlarge(factor):
                    length = -(-length // factor)
        return max(length, self.margin + side + self.at_least)

    def margins(self, side: int) -> tuple[int, int]:
        """Pixels to reflect before and after an image of `side` pixels."""
        return self.margin, self.plane(side) - self.margin - side


def _steps(architecture: Architecture) -> Iterator[_Step]:
    for layer in architecture.layers:
        match layer:
            case Convolution(kernel, stride, _):
                yield _Valid(kernel, stride)
            case Residual():
                yield from (_Valid(3, 1), _Valid(3, 1))
            case Shuffle(factor):
                yield _Enlarge(factor)
            case _:
                yield from (_Enlarge(2), _Valid(3, 1))


def _origin(steps: tuple[_Step, ...], margin: int) -> int | None:
    """The output coordinate of the first output pixel, None where a stride would fall between pixels.

    Coordinates are those of the *same* form, in which pixel i of a convolution is centred on pixel i × stride.
    """
    origin = Fraction(-margin)
    for step in steps:
        match step:
            case _Valid(kernel, stride):
                origin = (origin + kernel // 2) / stride
            case _Enlarge(factor):
                origin *= factor
        if origin.denominator != 1:
            return None
    return int(origin)
