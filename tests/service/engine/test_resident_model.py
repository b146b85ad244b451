import asyncio
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from service.engine.residency import Place
from service.engine.resident_model import ResidentModel
from service.engine.runner import Runner
from service.engine.tiling import ImageTile, TiledImage
from service.errors import ModelUnavailable
from service.imaging.pixels import Pixels
from tests.networks import network
from tests.service.engine.runners import LOADERS, Controlled, load, made, made_pool, stored
from tests.service.imaging.images import photo
from tests.service.live import publish


@pytest.fixture
def runner() -> Iterator[Runner]:
    subject = made(torch.bfloat16)
    yield subject
    subject.close()


def resident(runner: Runner, root: Path) -> ResidentModel:
    loader = LOADERS[runner]
    return ResidentModel("wave@1", load(runner, stored(root)), lambda: loader.load(stored(root)), loader.pool)


def result(runner: Runner, model: ResidentModel, sample: type[np.uint8 | np.uint16]) -> Pixels:
    network = model.fp32 if sample is np.uint16 else model.default
    image = TiledImage(photo(0, 40, 50).astype(sample), network.tiling)
    runner.run(network.on(runner.device), [ImageTile(image, tile) for tile in image.tiles])
    return image.result


@pytest.mark.parametrize("norm", ["batch", "thumbnail"])
@pytest.mark.parametrize("left_to", [Place.HOST, Place.DISK])
def test_answers_are_the_same_after_weights_were_elsewhere(
    tmp_path: Path, runner: Runner, left_to: Place, norm: str
) -> None:
    publish(tmp_path, built=network(norm=norm))
    model = resident(runner, tmp_path)
    before = [result(runner, model, sample) for sample in (np.uint8, np.uint16)]
    tiling, size = model.default.tiling, model.bytes
    asyncio.run(model.move(left_to))
    held = sum(parameter.nbytes for parameter in model.default.network.parameters())
    assert (held > 0) == (left_to is Place.HOST)
    assert (model.place, model.default.tiling, model.bytes) == (left_to, tiling, size)
    asyncio.run(model.move(Place.DEVICE))
    after = [result(runner, model, sample) for sample in (np.uint8, np.uint16)]
    assert all(np.array_equal(one, other) for one, other in zip(before, after, strict=True))


def test_bytes_are_those_of_both_precisions(tmp_path: Path, runner: Runner) -> None:
    publish(tmp_path)
    values = sum(parameter.numel() for parameter in stored(tmp_path).network.parameters())
    assert 5 * values < resident(runner, tmp_path).bytes < 9 * values


def test_model_whose_files_are_gone_is_unavailable_and_stays_away(tmp_path: Path, runner: Runner) -> None:
    publish(tmp_path)
    model = resident(runner, tmp_path)
    asyncio.run(model.move(Place.DISK))
    shutil.rmtree(tmp_path / "wave")
    with pytest.raises(ModelUnavailable, match="wave@1 could not be loaded again"):
        asyncio.run(model.move(Place.DEVICE))
    assert model.place is Place.DISK


@pytest.mark.parametrize("left_to", [Place.HOST, Place.DISK])
def test_copies_of_all_devices_move_together(tmp_path: Path, left_to: Place) -> None:
    publish(tmp_path)
    loader = made_pool(Controlled(), Controlled(), Controlled())
    model = ResidentModel("wave@1", loader.load(stored(tmp_path)), lambda: loader.load(stored(tmp_path)), loader.pool)
    one, other, lost = loader.pool.runners
    before, size = result(one, model, np.uint8), model.bytes
    assert size == sum(parameter.nbytes for parameter in weights(model, one))
    asyncio.run(model.move(left_to))
    places = [[tensor.data_ptr() for tensor in weights(model, runner)] for runner in loader.pool.runners]
    assert places[0] == places[1] == places[2]
    assert (places[0] == [0] * len(places[0])) == (left_to is Place.DISK)
    lost.lost = "gone"
    asyncio.run(model.move(Place.DEVICE))
    for runner in (one, other):
        np.testing.assert_array_equal(result(runner, model, np.uint8), before)
    loader.pool.close()


def weights(model: ResidentModel, runner: Runner) -> list[Tensor]:
    network = model.default.on(runner.device).network
    return [*network.parameters(), *network.buffers()]
