"""The thumbnail of an image of any size as a graph: `area_reduced` without a branch, so that it can be exported.

What depends on the size of the image there is arithmetic on tensors here. An elongated image is gathered into its four
squares, two by two, before it is reduced, and not after: cells of equal length do not straddle them.
"""

from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from model_store.networks.reduction import grain, least_side, to_measure


class _Squares(NamedTuple):
    """What an image is cut into, each side a tensor without axes: a single part where it is not elongated."""

    copies: Tensor
    """Parts along each axis: 1 or 2."""
    height: Tensor
    width: Tensor
    rows: Tensor
    """Of the reduced part."""
    columns: Tensor
    step: Tensor
    """Pixels that a third of the way takes from the first part to the last."""
    wide: Tensor
    """Whether they lie side by side, and not one below the other."""


class ThumbnailGraph(nn.Module):
    """Images, float32 (N, 3, H, W), to their thumbnails as `TransformNetwork.measure` takes them."""

    def __init__(self, side: int) -> None:
        super().__init__()
        self.side, self.least = side, least_side(side)
        self.noise: Tensor
        longest = max(2 * (4 * self.least - 3), side + 1)  # of joined parts that are mirrored, and of others
        self.register_buffer("noise", grain(longest**2), persistent=False)

    def forward(self, image: Tensor) -> Tensor:
        squares = self._squares(_scalar(image.shape[-2]), _scalar(image.shape[-1]))
        joined = _gather(image, squares)
        rows, columns = squares.rows * squares.copies, squares.columns * squares.copies
        reduced = _area_weights(joined.shape[-2], rows) @ joined @ _area_weights(joined.shape[-1], columns).T
        small = torch.minimum(squares.rows, squares.columns) < self.least
        for axis, cells in ((-2, squares.rows), (-1, squares.columns)):
            reduced = reduced.index_select(axis, self._mirrored(cells, squares.copies, small))
        return to_measure(reduced, self.noise)

    def _squares(self, height: Tensor, width: Tensor) -> _Squares:
        """See `squares_along`."""
        rows, columns = _reduced_sides(height, width, self.side)
        longer, shorter = torch.maximum(height, width), torch.minimum(height, width)
        elongated = (longer > self.side) & (torch.minimum(rows, columns) < self.least)
        length = torch.minimum(torch.clamp(shorter, min=self.side // 2), longer // 4)
        wide = width > height
        part_height = torch.where(elongated & ~wide, length, height)
        part_width = torch.where(elongated & wide, length, width)
        part_rows, part_columns = _reduced_sides(part_height, part_width, self.side // 2)
        return _Squares(
            torch.where(elongated, 2, 1),
            part_height,
            part_width,
            torch.where(elongated, part_rows, rows),
            torch.where(elongated, part_columns, columns),
            longer - length,
            wide,
        )

    def _mirrored(self, cells: Tensor, copies: Tensor, small: Tensor) -> Tensor:
        """For each row of the thumbnail the row of the joined parts, each of which is mirrored by itself."""
        period = torch.clamp(cells - 1, min=1)
        times = torch.clamp(_divided(2 * self.least, period).round().long(), min=2)
        length = torch.where(small & (cells < 2 * self.least), times * period + 1, cells)
        index = torch.arange(_known(length * copies, self.least))
        turn = torch.clamp(2 * (cells - 1), min=1)
        within = (index % length) % turn
        return index // length * cells + torch.where(within < cells, within, turn - within)


def _scalar(side: int) -> Tensor:
    return torch.scalar_tensor(side, dtype=torch.int64)


def _known(value: Tensor, least: int = 1) -> int:
    """A size that a tensor holds, of at least so many."""
    number = cast(int, value.item())  # int() would make it that of the image which is traced
    torch._check(number >= least)  # noqa: SLF001 # documented for exactly this
    return number


def _divided(number: int, by: Tensor) -> Tensor:
    """The quotient in float64, correctly rounded: of a number and a tensor torch takes the product with the inverse."""
    return torch.div(torch.scalar_tensor(number, dtype=torch.float64), by.double())


def _reduced_sides(height: Tensor, width: Tensor, side: int) -> tuple[Tensor, Tensor]:
    """See `reduced_sides`; in float64, as there."""
    factor = torch.clamp(_divided(side, torch.maximum(height, width)), max=1.0)
    rows, columns = ((pixels * factor).round().long() for pixels in (height, width))
    return torch.clamp(rows, min=1), torch.clamp(columns, min=1)


def _gather(image: Tensor, squares: _Squares) -> Tensor:
    """The parts of images (N, 3, H, W), two by two; of an image that is one part itself."""
    height, width = (_known(side * squares.copies) for side in (squares.height, squares.width))
    row, column = torch.arange(height)[:, None], torch.arange(width)[None, :]
    part = 2 * (row // squares.height) + column // squares.width
    offset = part * squares.step // 3
    row = row % squares.height + torch.where(squares.wide, 0, offset)
    column = column % squares.width + torch.where(squares.wide, offset, 0)
    pixels = (row * image.shape[-1] + column).flatten()
    gathered: Tensor = image.flatten(-2).index_select(-1, pixels).unflatten(-1, (height, width))
    return gathered


def _area_weights(pixels: int, cells: Tensor) -> Tensor:
    """The shares of `reduction.area_reduced`: (cells, pixels) in float32."""
    length = _divided(pixels, cells)
    edges = torch.arange(_known(cells) + 1, dtype=torch.float64)[:, None] * length
    begin, end = edges[:-1], edges[1:]
    pixel = torch.arange(pixels, dtype=torch.float64)
    covered = torch.minimum(pixel + 1, end) - torch.maximum(pixel, begin)
    return (covered.clamp(min=0) / (end - begin)).float()
