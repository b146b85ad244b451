"""How far a network sees, found by probing it: whether its tiles are exact, and what they must overlap.

A pixel that is not a number makes everything that depends on it not a number, whatever the weights: sums and products
keep it, and so do activations. So a single such pixel shows the receptive field, and a change too small for fp32 is
seen as well. What has been found is then checked: a plane in two tiles against the whole.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import ceil, nan
from typing import Literal

import torch
from torch import Tensor

from model_store.golden import as_batch, pattern

MOST_EXACT_HALO = 64
"""Input pixels. Beyond it, tiles that are exact would compute several times their own pixels."""

HALOS = (32, 64)
"""Of the overlapping tiles of a network that sees further: the first one whose seam is at most TOLERABLE_SEAM."""

MOST_SEAM = 8.0
"""Levels of 255. Images of a network with a larger seam stay whole."""

TOLERABLE_SEAM = 1.0
"""Levels of 255, which rounding alone may make."""

ROUNDING = 0.05
"""Levels of 255 by which fp32 may differ where the order of its sums does."""

MOST_STRIDE = 128
"""Pixels. Networks that reduce an image inside, such as U-Nets, see it in squares of their strides' product."""

THICKNESS = 32
"""Pixels across the strips that are probed."""

Enlarge = Callable[[Tensor], Tensor]
"""(N, 3, H, W) to (N, 3, H × scale, W × scale)."""


@dataclass(frozen=True)
class Locality:
    """What tiles are with that halo and planes that begin at multiples of `stride`, and their largest seam."""

    tiles: Literal["exact", "overlapping", "none"]
    halo: int
    stride: int
    seam: float
    """Levels of 255."""


@torch.inference_mode()
def measure_locality(enlarge: Enlarge, scale: int, stride: int) -> Locality:
    """Probe a network whose windows, as far as they are known, begin at multiples of `stride`."""
    stride = _grid(enlarge, scale, stride)
    reach = _reach(enlarge, scale, stride)
    if reach is not None and _seam(enlarge, scale, stride, reach) <= ROUNDING:
        return Locality("exact", reach, stride, 0.0)
    halo, seam = 0, 0.0
    for halo in HALOS:
        seam = _seam(enlarge, scale, stride, halo)
        if seam <= TOLERABLE_SEAM:
            break
    return Locality("overlapping" if seam <= MOST_SEAM else "none", halo, stride, seam)


def _grid(enlarge: Enlarge, scale: int, stride: int) -> int:
    """The least stride, times a power of two, by which a plane may begin later without another answer in its middle.

    Where no answer stays the same, as of a network that sees further, one that changes it hardly more than any other.
    """
    step = stride
    changes = {step: _change_by_shift(enlarge, scale, step)}
    while changes[step] > ROUNDING and 2 * step <= MOST_STRIDE:
        step *= 2
        changes[step] = _change_by_shift(enlarge, scale, step)
    tolerable = max(ROUNDING, 2 * min(changes.values()))
    return next(step for step, change in changes.items() if change <= tolerable)


def _change_by_shift(enlarge: Enlarge, scale: int, step: int) -> float:
    """The largest difference, in levels of 255, in the middle of a strip that begins `step` pixels later."""
    side = _whole_windows(MOST_EXACT_HALO, step)
    strip = as_batch(pattern(_whole_windows(2 * THICKNESS, step), 2 * side + 2 * step))
    later = enlarge(strip[..., step:])
    middle = slice(side * scale, (side + step) * scale)
    return float((later[..., middle] - enlarge(strip)[..., step * scale :][..., middle]).abs().max() * 255)


def _reach(enlarge: Enlarge, scale: int, stride: int) -> int | None:
    """Input pixels at which one pixel still counts, along either axis; None for more than MOST_EXACT_HALO.

    A pixel of each position in a window is probed, or of every few in a large one.
    """
    step = ceil(stride / 8)
    found = [
        _reach_of(enlarge, scale, stride, phase, transposed=transposed)
        for phase in range(0, stride, step)
        for transposed in (False, True)
    ]
    known = [reach for reach in found if reach is not None]
    if len(known) < len(found) or max(known) + step - 1 > MOST_EXACT_HALO:
        return None
    return max(known) + step - 1


def _reach_of(enlarge: Enlarge, scale: int, stride: int, phase: int, *, transposed: bool) -> int | None:
    """Of the pixel `phase` pixels into a window; None where it counts up to an end of the strip."""
    thickness, middle = _whole_windows(THICKNESS, stride), _whole_windows(MOST_EXACT_HALO + 1, stride)
    strip = as_batch(pattern(thickness, 2 * middle + stride))
    strip[..., thickness // 2, middle + phase] = nan
    output = enlarge(strip.mT).mT if transposed else enlarge(strip)
    seen = (~torch.isfinite(output)).any(dim=(0, 1, 2)).nonzero().flatten() // scale
    if not len(seen) or seen[0] == 0 or seen[-1] == strip.shape[-1] - 1:
        return None
    return int(max(middle + phase - seen[0], seen[-1] - middle - phase))


def _seam(enlarge: Enlarge, scale: int, stride: int, halo: int) -> float:
    """The largest difference, in levels of 255, between two tiles of a strip, each with its halo, and the whole."""
    middle = _whole_windows(halo + THICKNESS, stride)
    strip = as_batch(pattern(_whole_windows(2 * THICKNESS, stride), 2 * middle))
    whole = enlarge(strip).clamp(0, 1)
    begin, end = (middle - halo) // stride * stride, _whole_windows(middle + halo, stride)
    first = enlarge(strip[..., :end]).clamp(0, 1)[..., : middle * scale]
    second = enlarge(strip[..., begin:]).clamp(0, 1)[..., (middle - begin) * scale :]
    return float((torch.cat([first, second], dim=-1) - whole).abs().max() * 255)


def _whole_windows(side: int, stride: int) -> int:
    """The next larger multiple of the stride."""
    return ceil(side / stride) * stride
