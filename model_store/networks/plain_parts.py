"""Plain parts of a thumbnail: what is white or black and empty, and tells nothing about a photograph's light.

Instance normalisation makes the mean of an image a middle tone. Of a portrait before a white wall that is nearly white:
the wall became grey, and the face as dark as a shadow is elsewhere. So thumbnail normalisation measures the rest of the
image alone: a plain part of the thumbnail shows another part instead.

Not all of them do. Of a drawing, a sign or a page the rest alone says little: a background of which nothing was
measured would be any number of standard deviations from the mean, and was one glaring colour. And the first thing that
enters an empty scene would change all of its light at once.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

CELL = 8
"""Pixels of a side of the squares that are plain or not. A style network's deepest plane has 2×2 values for each."""

WHITE, BLACK = 0.95, 0.07
"""Means, in [0, 1], above which or below which all channels of a plain square are."""

EVEN = 2 / 255
"""Standard deviation, in [0, 1], which no channel of a plain square reaches: of what noise and JPEG leave in one."""

KEPT = 10
"""One of so many squares may be plain. What is a tenth of an image is at most 3 standard deviations from its mean."""

REPEATED = 7
"""Plain squares that show the same other one, at most."""


def without_plain_parts(thumbnails: Tensor) -> Tensor:
    """Float (N, 3, H, W) in [0, 1], in which plain squares of CELL pixels show others that are not plain.

    The first ones stay: one in KEPT of all squares, or more where there are not enough others. Those that are shown are
    spread over the image evenly, so that all of it counts alike. An image whose squares are all plain, or of which no
    more than that are, keeps its values. No branch depends on values: it can be captured and exported.
    """
    height, width = thumbnails.shape[-2:]
    if min(height, width) < CELL:
        return thumbnails
    source = _sources(_plain(thumbnails.float()).flatten(1))
    moved = _first_pixels(height, width, thumbnails.device)[source]
    row, column = (torch.arange(side, device=thumbnails.device) for side in (height, width))
    square = _square_of(row, column).flatten()
    within = ((row % CELL * width)[:, None] + column % CELL).flatten()
    own = torch.arange(height * width, device=thumbnails.device)
    shown = torch.where(square < 0, own, moved[:, square.clamp(min=0)] + within)
    return thumbnails.flatten(-2).gather(-1, shown[:, None].expand(-1, 3, -1)).view_as(thumbnails)


def _first_pixels(height: int, width: int, device: torch.device) -> Tensor:
    """The place (S,) of the first pixel of each whole square, in images whose pixels lie row by row."""
    top = torch.arange(height // CELL, device=device) * (CELL * width)
    return (top[:, None] + torch.arange(width // CELL, device=device) * CELL).flatten()


def _square_of(row: Tensor, column: Tensor) -> Tensor:
    """The number of the square of each pixel (H, W); -1 in rows and columns at the end that are in no whole square."""
    down, right = row // CELL, column // CELL
    rows, columns = row.shape[0] // CELL, column.shape[0] // CELL
    number = down[:, None] * columns + right
    return torch.where((down < rows)[:, None] & (right < columns), number, -1)


def _plain(images: Tensor) -> Tensor:
    """Which squares of images (N, 3, H, W) are plain: (N, H // CELL, W // CELL)."""
    means = F.avg_pool2d(images, CELL)
    variances = F.avg_pool2d(images.square(), CELL) - means.square()
    extreme = (means.amin(1) > WHITE) | (means.amax(1) < BLACK)
    return extreme & (variances.amax(1) < EVEN**2)


def _sources(plain: Tensor) -> Tensor:
    """For squares (N, S) the number of the one that each shows: itself, or one of the others, see REPEATED and KEPT."""
    count = plain.shape[1]
    numbers = torch.arange(count, device=plain.device).expand_as(plain)
    among_plain, among_others = plain.cumsum(1) - 1, (~plain).cumsum(1) - 1
    all_plain, all_others = among_plain[:, -1:] + 1, among_others[:, -1:] + 1
    unused = count  # where the numbers of plain squares go
    places = torch.where(plain, unused, among_others)
    others = torch.zeros_like(numbers[:, :1]).expand(-1, count + 1).scatter(1, places, numbers)
    staying = (all_plain + all_others) // KEPT
    changed = torch.minimum(all_plain - staying, REPEATED * all_others).clamp(min=0)
    among_changed = among_plain - (all_plain - changed)
    spread = among_changed * all_others // changed.clamp(min=1)
    place = torch.where(changed <= all_others, spread, among_changed % all_others.clamp(min=1))
    shown = others.gather(1, place.clamp(min=0))
    return torch.where(plain & (among_changed >= 0), shown, numbers)
