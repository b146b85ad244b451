from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from model_store import LayerForm, Network
from service.engine.cpu import CpuBackend
from service.engine.tiling import TileSizes
from service.imaging.pixels import Pixels
from tests.networks import network
from tests.service.engine.runners import NARROW_VALUES, Controlled, made_pool, stored
from tests.service.live import publish


class Recording(CpuBackend):
    """Remembers the shapes of its planes, with the size of the batches that they were in."""

    def __init__(self) -> None:
        super().__init__(threads=1, lanes=1)
        self.batches: list[tuple[tuple[int, ...], int, type[np.generic]]] = []

    def run(
        self, network: Network, planes: Sequence[Pixels], statistics: Tensor | None, fixed_batch: int = 1
    ) -> list[Pixels | None]:
        self.batches.append((planes[0].shape, fixed_batch, planes[0].dtype.type))
        return super().run(network, planes, statistics, fixed_batch)


def test_second_device_runs_each_fixed_batch_once_and_measures_nothing(tmp_path: Path) -> None:
    publish(tmp_path)
    backends = Recording(), Recording()
    loader = made_pool(*backends, sizes=TileSizes(10**6, (32, 64), 3 * 70**2 * NARROW_VALUES))
    loaded = loader.load(stored(tmp_path))
    fixed = loaded.default.tiling.fixed_batches
    expected = {((*shape, 3), size, np.uint16) for shape, size in fixed.items()}
    assert (set(backends[1].batches), len(backends[1].batches)) == (expected, 2)
    assert len(backends[0].batches) > 8
    assert loaded.default.on(loader.pool.runners[1].device).tiling.fixed_batches == fixed
    loader.load(stored(tmp_path))
    assert len(backends[1].batches) == 2
    loader.pool.close()


def test_forms_of_layers_are_measured_on_one_device(tmp_path: Path) -> None:
    """The second measurement would prefer another form."""
    measured: list[str] = []

    def seconds(layer: nn.Module, _features: Tensor) -> float:
        measured.append(type(layer).__name__)
        return 1.0 / len(measured)

    publish(tmp_path, built=network("c9s1-4,d6,d8,R8*2,u6,u4,c9s1-3"))
    loader = made_pool(Controlled(), Controlled(), layer_seconds=seconds)
    loaded = loader.load(stored(tmp_path))
    assert len(measured) == 2 * len(LayerForm)
    assert loaded.default.on(torch.device("cpu", 1)).variants == loaded.default.variants != ("", "")
    loader.pool.close()
