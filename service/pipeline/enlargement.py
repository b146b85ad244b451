"""How a painting that is smaller than its answer is enlarged: by a network, by a Lanczos filter, or by both in turn."""

from collections.abc import Sequence
from enum import StrEnum

from service.models.served_model import ServedModel

IMPERCEPTIBLE = 1.25
"""The factor up to which a Lanczos filter enlarges a side without a visible loss."""

NOTICEABLE = 2.5
"""From here on the loss is worth the time of a network, which is hardly more than the painting itself would take at the
size of the answer; for smaller factors it is several times as much."""


class Enlarge(StrEnum):
    """What enlarges a painting."""

    AUTO = "auto"
    """A network where sides grow by more than NOTICEABLE, otherwise a Lanczos filter."""
    NETWORK = "network"
    """The ×2 or ×4 super-resolution network, and a Lanczos filter for what is left."""
    LANCZOS = "lanczos"
    """A Lanczos filter alone: soft, and several times as fast."""


def choose_enlarger(networks: Sequence[ServedModel], factor: float, least: float = IMPERCEPTIBLE) -> ServedModel | None:
    """The network of the least scale from which a Lanczos filter reaches `factor` without a visible loss.

    The largest scale where none does; None where the factor is no more than `least`, or there is no network.
    """
    if factor <= least or not networks:
        return None
    ascending = sorted(networks, key=lambda network: network.scale)
    return next((network for network in ascending if network.scale * IMPERCEPTIBLE >= factor), ascending[-1])
