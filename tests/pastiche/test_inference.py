import copy
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from model_store import ModelStore
from pastiche.catalogue import Catalogue
from pastiche.inference import Inference
from service.engine.device_assembly import Device, assemble_device
from service.engine.inference_spec import InferenceSpec
from service.engine.loaded_model import LoadedModel
from service.engine.scheduler import Concurrency
from service.errors import InferenceFailed
from service.imaging.pixels import Pixels
from service.imaging.sizes import Size
from service.imaging.style_transform import StyleTransform
from service.models.served_model import ServedModel
from service.pipeline.operation import Plan
from service.telemetry.metrics import Metrics
from tests.service.imaging.images import photo
from tests.service.live import painted, publish, publish_upscaler, same, settings


@pytest.fixture
def device(tmp_path: Path) -> Iterator[Device]:
    publish(tmp_path, "wave")
    publish_upscaler(tmp_path)
    made = assemble_device(settings(tmp_path, threads=2, tile_values=2**17), Metrics(), timed=False)
    yield made
    made.pool.close()


def failing(model: ServedModel) -> ServedModel:
    """The same model with weights that are no numbers."""
    network = copy.deepcopy(model.network.network)
    for parameter in network.parameters():
        parameter.data.fill_(float("nan"))
    broken = replace(model.network, network=network, fp32=network)
    return replace(model, loaded=LoadedModel(broken, broken))


def plan(image: Pixels, *models: ServedModel) -> Plan:
    size = Size(*image.shape[:2])
    specs, answer = [], size
    for model in models:
        specs.append(InferenceSpec(model, *answer))
        answer = answer.times(model.scale)
    return Plan(tuple(specs), StyleTransform(size, answer, (1.0,)), (1.0,), answer)


def test_networks_run_in_turn_and_images_side_by_side(tmp_path: Path, device: Device) -> None:
    models = Catalogue([ModelStore(tmp_path)], device.loader, {})
    wave, x4 = models.find("wave"), models.find("x4")
    images = [photo(seed, 20 + seed, 90) for seed in range(3)]
    plans = [plan(images[0], wave), plan(images[1], wave, x4), plan(images[2], x4)]
    inference = Inference(device)
    outputs = inference.run(plans, images)
    assert same(outputs[0][0], painted(tmp_path, images[0]))
    assert same(outputs[2][0], painted(tmp_path, images[2], "x4"))
    [[between]] = inference.run([plan(images[1], wave)], [images[1]])
    np.testing.assert_array_equal(outputs[1][0], inference.run([plan(between, x4)], [between])[0][0])


@pytest.mark.parametrize("exclusive", [True, False])
def test_lone_tile_has_all_lanes(tmp_path: Path, device: Device, exclusive: bool) -> None:
    wave = Catalogue([ModelStore(tmp_path)], device.loader, {}).find("wave")
    image = photo()
    alone = replace(device, concurrency=Concurrency(2, exclusive_batches=exclusive))
    [[output]] = Inference(alone).run([plan(image, wave)], [image])
    np.testing.assert_array_equal(output, Inference(device).run([plan(image, wave)], [image])[0][0])


def test_failure_is_raised_and_the_next_call_works(tmp_path: Path, device: Device) -> None:
    wave = Catalogue([ModelStore(tmp_path)], device.loader, {}).find("wave")
    image, inference = photo(1, 150, 220), Inference(device)
    with pytest.raises(InferenceFailed):
        inference.run([plan(image, failing(wave))], [image])
    assert inference.run([plan(image, wave)], [image])[0][0].shape == image.shape
