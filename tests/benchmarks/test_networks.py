"""The networks that are measured, and the work that they are."""

from pathlib import Path

import pytest
import torch

from benchmarks import networks, photos
from model_store import STYLE, UPSCALE_4, NetworkSpec, TransformNetwork, for_inference


def paper_work(architecture: str, side: int) -> float:
    """Gigaflops of the form that pads inside its layers, whose planes are no larger than the image needs."""
    network = TransformNetwork(NetworkSpec(architecture=architecture, form="same"))
    return networks.flops(network, side, side) / 1e9


def test_work_is_307584_operations_a_pixel_for_style() -> None:
    assert paper_work(STYLE, 512) == 512**2 * 307_584 / 1e9  # 80.6 gigaflops


def test_work_is_2593152_operations_a_pixel_for_upscaling() -> None:
    assert paper_work(UPSCALE_4, 64) == 64**2 * 2_593_152 / 1e9


def test_native_form_does_more_work_and_its_fast_form_less() -> None:
    network = TransformNetwork(NetworkSpec(architecture=STYLE))
    native = networks.flops(network, 512, 512)
    assert paper_work(STYLE, 512) * 1e9 < native
    assert networks.flops(for_inference(network), 512, 512) < native


def test_a_shipped_style_takes_the_place_of_the_papers(tmp_path: Path) -> None:
    store = networks.publish(tmp_path, networks.shipped_style)
    assert store.load(networks.STYLE_NAME).network.needs_statistics
    assert store.load(networks.UPSCALE_NAME).network.scale == 4


@pytest.mark.parametrize("architecture", ["c9s1-4,d6,d8,R8*5,u6,u4,c9s1-3", "c9s1-6,R6*4,u6,u6,c9s1-3"])
def test_calibrated_network_answers_neither_grey_nor_saturated(architecture: str) -> None:
    network = networks.calibrated(architecture)
    picture = torch.from_numpy(photos.photo(64, 48, 7)).permute(2, 0, 1)[None].float() / 255
    output = network(picture)
    assert torch.isfinite(output).all()
    assert 0.05 < output.std().item() < 0.3
    assert ((output == 0) | (output == 1)).float().mean().item() < 0.05
    assert torch.equal(output, networks.calibrated(architecture)(picture))
