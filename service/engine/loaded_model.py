"""Models on the device, as they are run."""

from dataclasses import dataclass
from typing import Protocol

from model_store import Network
from service.engine.cost_model import CostModel
from service.engine.openvino_network import OpenVinoNetwork
from service.engine.tiling import Tiling


@dataclass(frozen=True)
class LoadedNetwork:
    """A network on the device in one precision, with its tiling and its cost model."""

    network: Network
    fp32: Network
    """The same network in fp32, for images whose output is not finite; for a network in fp32 itself."""
    tiling: Tiling
    cost_model: CostModel

    @property
    def engine(self) -> str:
        """What computes its layers: torch or openvino."""
        return "openvino" if isinstance(self.network, OpenVinoNetwork) else "torch"

    @property
    def variants(self) -> tuple[str, str]:
        """In which forms its thin layers are computed, and those of the network in fp32."""
        return self.network.variant, self.fp32.variant


@dataclass(frozen=True)
class LoadedModel:
    """A stored model on the device."""

    default: LoadedNetwork
    """In the precision of the settings: for images of 8 bits a channel."""
    fp32: LoadedNetwork
    """In fp32, for images of 16 bits a channel. The same object where the settings say fp32."""


class OnDevice(Protocol):
    """A model whose networks are on the device by the time that one of them is asked for: LoadedModel, for one."""

    @property
    def default(self) -> LoadedNetwork:
        """See `LoadedModel`."""

    @property
    def fp32(self) -> LoadedNetwork:
        """See `LoadedModel`."""
