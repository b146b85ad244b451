"""Models on the device, as they are run."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Protocol

import torch

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
    copies: Mapping[torch.device, "LoadedNetwork"] = field(default_factory=dict, compare=False)
    """The same on the further devices of a pool, where there are any."""

    def on(self, device: torch.device) -> "LoadedNetwork":
        """Its copy on a further device; itself on its own."""
        return self.copies.get(device, self)

    @property
    def engine(self) -> str:
        """What computes its layers: torch or openvino."""
        return engine_of(self.network)

    @property
    def precision(self) -> torch.dtype:
        """Of its weights."""
        return next(self.network.parameters()).dtype

    @cached_property
    def computation(self) -> str:
        """Of what is measured when it is loaded, all that changes bits: engine, precision, forms, sizes of batches."""
        batches = sorted([*shape, size] for shape, size in self.tiling.fixed_batches.items())
        return json.dumps([self.engine, str(self.precision), self.variants, batches])

    @property
    def variants(self) -> tuple[str, str]:
        """In which forms its thin layers are computed, and those of the network in fp32."""
        return self.network.variant, self.fp32.variant


def engine_of(network: Network) -> str:
    """What computes a network's layers: torch or openvino."""
    return "openvino" if isinstance(network, OpenVinoNetwork) else "torch"


@dataclass(frozen=True)
class LoadedModel:
    """A stored model on the device."""

    default: LoadedNetwork
    """In the precision of the settings: for images of 8 bits a channel."""
    fp32: LoadedNetwork
    """In fp32, for images of 16 bits a channel. The same object where the settings say fp32."""

    def on(self, device: torch.device) -> "LoadedModel":
        """Its copy on a further device; itself on its own."""
        return LoadedModel(self.default.on(device), self.fp32.on(device))

    def with_copies(self, copies: Mapping[torch.device, "LoadedModel"]) -> "LoadedModel":
        """The same with these copies on further devices."""
        fp32 = replace(self.fp32, copies={device: copy.fp32 for device, copy in copies.items()})
        if self.default is self.fp32:
            return LoadedModel(fp32, fp32)
        default = replace(self.default, copies={device: copy.default for device, copy in copies.items()})
        return LoadedModel(default, fp32)


class OnDevice(Protocol):
    """A model whose networks are on the device by the time that one of them is asked for: LoadedModel, for one."""

    @property
    def default(self) -> LoadedNetwork:
        """See `LoadedModel`."""

    @property
    def fp32(self) -> LoadedNetwork:
        """See `LoadedModel`."""
