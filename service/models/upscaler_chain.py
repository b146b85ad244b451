"""Which networks enlarge an image: one, or a chain of several in turn."""

from collections.abc import Collection, Sequence
from math import prod

from service.models.served_model import ServedModel

LARGEST_SCALE = 16
"""The most by which the sides of an image can be multiplied."""

ENLARGER_SCALES = (2, 4)
"""Of the networks that enlarge paintings. A larger one would make results of many times the answer's pixels."""


def chain_scale(scale: float, upscalers: Sequence[ServedModel], names: Collection[str]) -> int | None:
    """The least scale of a chain that is not below `scale`; None where there is none.

    Where none is equal, the least of a chain with the networks of these names. 1 for 1, whose chain has no network that
    enlarges.
    """
    if scale == 1:
        return 1
    scales = [chain for chain in chain_scales({model.scale for model in upscalers}) if chain >= scale]
    if not scales or scales[0] == scale:
        return scales[0] if scales else None
    named = prod(model.scale for model in upscalers if model.name in names)
    return next((chain for chain in scales if chain % named == 0), scales[0])


def chain_scales(scales: Collection[int]) -> list[int]:
    """The scales of all chains of networks of these scales, in order, up to LARGEST_SCALE."""
    return [product for product in range(2, LARGEST_SCALE + 1) if factorize(product, scales) is not None]


def factorize(scale: int, scales: Collection[int]) -> tuple[int, ...] | None:
    """The fewest scales whose product is `scale`, the most even ones, the largest first; None where there are none.

    Even ones, since a network of a larger scale guesses more, and enlarging its result again costs more.
    """
    if scale == 1:
        return ()
    chains = [
        tuple(sorted((factor, *rest), reverse=True))
        for factor in scales
        if factor > 1 and scale % factor == 0 and (rest := factorize(scale // factor, scales)) is not None
    ]
    return min(chains, key=lambda chain: (len(chain), chain), default=None)


def preferred(upscalers: Sequence[ServedModel], scale: int) -> ServedModel:
    """The one named `x4` (for 4), else the newest that is not for damaged photographs. There must be one."""
    suitable = [model for model in upscalers if model.scale == scale]
    return max(suitable, key=lambda model: (model.name == f"x{scale}", not model.restores, model.manifest.created))


def restorer(models: Sequence[ServedModel], scale: int) -> ServedModel | None:
    """The network for damaged photographs of a scale: the one named `x4-photo` (for 4), else the newest."""
    suitable = [model for model in models if model.restores and model.scale == scale]
    named = f"x{scale}-photo"
    return max(suitable, key=lambda model: (model.name == named, model.manifest.created), default=None)


def enlargers(models: Sequence[ServedModel]) -> tuple[ServedModel, ...]:
    """The networks that enlarge paintings: for each of ENLARGER_SCALES the preferred one that can be tiled.

    None for a scale for which there is none.
    """
    tileable = [model for model in models if model.upscales and model.manifest.tileable]
    served = {model.scale for model in tileable}
    return tuple(preferred(tileable, scale) for scale in ENLARGER_SCALES if scale in served)
