from pathlib import Path

import pytest
import torch

from model_store import NetworkSpec
from tests.trainer.samples import photographs, style_config
from trainer.data import Photographs, random_scaled_crop
from trainer.hardware import Hardware
from trainer.previews import PREVIEW_IMAGES, preview_batch, side_by_side
from trainer.task_parts import new_network

CPU = Hardware.of("cpu", "fp32")
SPEC = NetworkSpec(architecture="c3s1-4,c3s1-3")


@pytest.mark.parametrize("size", [1, 3, 8])
def test_previews_show_the_same_images_whatever_the_batch(tmp_path: Path, size: int) -> None:
    folder = photographs(tmp_path)
    network = new_network(style_config(tmp_path / "run"), SPEC)
    pictures = Photographs(folder, 16, size, random_scaled_crop, seed=0)
    found = preview_batch(network, CPU, pictures)
    assert found.shape == (PREVIEW_IMAGES, 3, 16, 16)
    assert torch.equal(found, preview_batch(network, CPU, pictures))
    assert found.max() <= 1


def test_images_are_put_side_by_side_in_their_order() -> None:
    images = torch.stack([torch.full((3, 2, 4), value) for value in (-1.0, 0.5, 3.0)])
    picture = side_by_side(images)
    assert picture.shape == (3, 2, 12)
    assert picture[0, 0].tolist() == [0] * 4 + [0.5] * 4 + [1] * 4
