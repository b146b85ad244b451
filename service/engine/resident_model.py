"""A loaded model whose weights can leave the device and come back: its tiling and its cost stay known meanwhile."""

import asyncio
from collections.abc import Callable, Iterator
from functools import cached_property

import torch
from torch import Tensor

from model_store import Network, StoreError
from service.engine.loaded_model import LoadedModel, LoadedNetwork
from service.engine.openvino_network import OpenVinoNetwork
from service.engine.residency import Place
from service.engine.runner import Runner
from service.errors import ModelUnavailable


class ResidentModel:
    """See `OnDevice` and `Weights`. What is computed with the weights is the same wherever they have been."""

    def __init__(self, label: str, loaded: LoadedModel, reload: Callable[[], LoadedModel], runner: Runner) -> None:
        """`reload` reads the model from the disk again, verifies it, and puts it on the device."""
        self.place = Place.DEVICE
        self._label = label
        self._loaded = loaded
        self._reload = reload
        self._runner = runner

    @property
    def default(self) -> LoadedNetwork:
        """See `LoadedModel`."""
        return self._loaded.default

    @property
    def fp32(self) -> LoadedNetwork:
        """See `LoadedModel`."""
        return self._loaded.fp32

    @cached_property
    def bytes(self) -> int:
        """Of its weights in all precisions; 0 where they cannot leave, since OpenVINO has compiled them."""
        return sum(tensor.nbytes for tensor in self._tensors(self._loaded)) if self._movable else 0

    async def move(self, place: Place) -> None:
        """See `Weights`. Raises ModelUnavailable where the store has the model no more, or not as it was."""
        if self._movable:
            await asyncio.wrap_future(self._runner.submit_beside(lambda: self._move(place)))
        self.place = place

    @cached_property
    def _movable(self) -> bool:
        return not any(isinstance(network, OpenVinoNetwork) for network in _networks(self._loaded))

    @torch.inference_mode()
    def _move(self, place: Place) -> None:
        """In the thread that loads models."""
        fresh = self._read() if self.place is Place.DISK else None
        runner = self._runner
        with runner.translated_errors(), runner.backend.lane(exclusive=False), runner.backend.launch_lock():
            if fresh is not None:
                for tensor, new in zip(self._tensors(self._loaded), self._tensors(fresh), strict=True):
                    tensor.data = new.data
                return
            for tensor in self._tensors(self._loaded):
                tensor.data = _moved(tensor, place, runner.device)

    def _read(self) -> LoadedModel:
        try:
            return self._reload()
        except StoreError as error:
            raise ModelUnavailable(f"{self._label} could not be loaded again: {error}") from error

    @staticmethod
    def _tensors(loaded: LoadedModel) -> list[Tensor]:
        return [tensor for network in _networks(loaded) for tensor in (*network.parameters(), *network.buffers())]


def _networks(loaded: LoadedModel) -> Iterator[Network]:
    """Each once: in fp32 there is one for everything."""
    found = (loaded.default.network, loaded.default.fp32, loaded.fp32.network, loaded.fp32.fp32)
    return iter(dict.fromkeys(found))


def _moved(tensor: Tensor, place: Place, device: torch.device) -> Tensor:
    """Its values there; none where they stay on the disk alone."""
    match place:
        case Place.DISK:
            return tensor.data.new_empty(0)
        case Place.HOST:
            return tensor.data.cpu().pin_memory() if device.type == "cuda" else tensor.data.cpu()
        case Place.DEVICE:
            return tensor.data.to(device)
