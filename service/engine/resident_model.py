"""A loaded model whose weights can leave the device and come back: its tiling and its cost stay known meanwhile."""

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property, partial

import torch
from torch import Tensor

from model_store import Network, StoreError
from service.engine.loaded_model import LoadedModel, LoadedNetwork
from service.engine.openvino_network import OpenVinoNetwork
from service.engine.residency import Place
from service.engine.runner import Runner
from service.engine.runner_pool import RunnerPool
from service.errors import ModelUnavailable


class ResidentModel:
    """See `OnDevice` and `Weights`. What is computed with the weights is the same wherever they have been.

    Those on several devices move together; in the memory of the host there is one copy for all of them.
    """

    def __init__(self, label: str, loaded: LoadedModel, reload: Callable[[], LoadedModel], pool: RunnerPool) -> None:
        """`reload` reads the model from the disk again, verifies it, and puts it on the devices."""
        self.place = Place.DEVICE
        self._label = label
        self._loaded = loaded
        self._reload = reload
        self._pool = pool

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
        """Of one copy of its weights in all precisions; 0 where they cannot leave, since OpenVINO has compiled them."""
        return sum(tensor.nbytes for tensor in _tensors(self._loaded)) if self._movable else 0

    async def move(self, place: Place) -> None:
        """See `Weights`. Raises ModelUnavailable where the store has the model no more, or not as it was."""
        if self._movable:
            await asyncio.wrap_future(self._pool.submit_beside(lambda: self._move(place)))
        self.place = place

    @cached_property
    def _movable(self) -> bool:
        return not any(isinstance(network, OpenVinoNetwork) for network in _networks(self._loaded))

    @torch.inference_mode()
    def _move(self, place: Place) -> None:
        """In the thread that loads models. What a lost device had stays there."""
        for runner, values in self._values_at(place).items():
            for tensor, value in zip(self._tensors_on(runner), values, strict=True):
                tensor.data = value

    def _values_at(self, place: Place) -> Mapping[Runner, Sequence[Tensor]]:
        """What the tensors on each device will be."""
        if self.place is Place.DISK:
            fresh = self._read()
            return {runner: _data(_tensors(fresh.on(runner.device))) for runner in self._pool.working}
        if place is Place.HOST:
            _, shared = self._pool.on_first(partial(self._moved, place))
            return dict.fromkeys(self._pool.working, shared)
        return self._pool.on_each(partial(self._moved, place))

    @torch.inference_mode()
    def _moved(self, place: Place, runner: Runner) -> list[Tensor]:
        with runner.translated_errors(), runner.backend.lane(exclusive=False), runner.backend.launch_lock():
            return [_moved(tensor, place, runner.device) for tensor in self._tensors_on(runner)]

    def _tensors_on(self, runner: Runner) -> list[Tensor]:
        return _tensors(self._loaded.on(runner.device))

    def _read(self) -> LoadedModel:
        try:
            return self._reload()
        except StoreError as error:
            raise ModelUnavailable(f"{self._label} could not be loaded again: {error}") from error


def _networks(loaded: LoadedModel) -> Iterator[Network]:
    """Each once: in fp32 there is one for everything."""
    found = (loaded.default.network, loaded.default.fp32, loaded.fp32.network, loaded.fp32.fp32)
    return iter(dict.fromkeys(found))


def _tensors(loaded: LoadedModel) -> list[Tensor]:
    return [tensor for network in _networks(loaded) for tensor in (*network.parameters(), *network.buffers())]


def _data(tensors: Sequence[Tensor]) -> list[Tensor]:
    return [tensor.data for tensor in tensors]


def _moved(tensor: Tensor, place: Place, device: torch.device) -> Tensor:
    """Its values there; none where they stay on the disk alone."""
    match place:
        case Place.DISK:
            return tensor.data.new_empty(0)
        case Place.HOST:
            return tensor.data.cpu().pin_memory() if device.type == "cuda" else tensor.data.cpu()
        case Place.DEVICE:
            return tensor.data.to(device)
