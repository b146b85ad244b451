"""Models on the device, as they are run."""

from dataclasses import dataclass

from model_store import Network
from service.engine.cost_model import CostModel
from service.engine.tiling import Tiling


@dataclass(frozen=True)
class LoadedNetwork:
    """A network on the device in one precision, with its tiling and its cost model."""

    network: Network
    fp32: Network
    """The same network in fp32, for images whose output is not finite; for a network in fp32 itself."""
    tiling: Tiling
    cost_model: CostModel


@dataclass(frozen=True)
class LoadedModel:
    """A stored model on the device."""

    default: LoadedNetwork
    """In the precision of the settings: for images of 8 bits a channel."""
    fp32: LoadedNetwork
    """In fp32, for images of 16 bits a channel. The same object where the settings say fp32."""
