from pathlib import Path

import pytest
import torch

from model_store import NetworkSpec
from tests.trainer.samples import photographs, style_config
from trainer.data import Photographs, random_scaled_crop
from trainer.hardware import Hardware
from trainer.task_setup import (
    PREVIEW_IMAGES,
    crops_of,
    make_draft,
    make_provenance,
    new_network,
    preview_batch,
    side_by_side,
)

CPU = Hardware.of("cpu", "fp32")
SPEC = NetworkSpec(architecture="c3s1-4,c3s1-3")


def test_the_same_seed_gives_the_same_weights(tmp_path: Path) -> None:
    one, same, other = (
        new_network(style_config(tmp_path, seed=seed), SPEC).state_dict()["layers.0.conv.weight"] for seed in (1, 1, 2)
    )
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


def test_the_manifest_has_the_recipe_and_no_path(tmp_path: Path) -> None:
    config = style_config(tmp_path, title="Wave", style_weight=7, steps=9)
    pictures = crops_of(config, config.content, random_scaled_crop, config.image_size)
    provenance = make_provenance(config, CPU, pictures, 5, {"content": 0.5})
    draft = make_draft(config, "style", provenance)
    assert (draft.name, draft.title, provenance.steps, provenance.losses) == ("wave", "Wave", 5, {"content": 0.5})
    assert provenance.recipe["style_weight"] == 7
    assert (provenance.recipe["steps"], provenance.recipe["precision"]) == (9, "float32")
    assert provenance.data == "5 photographs"
    assert str(tmp_path) not in draft.model_dump_json()


def test_crops_have_the_batch_and_the_seed_of_the_configuration(tmp_path: Path) -> None:
    config = style_config(tmp_path, batch=3, seed=4)
    found = crops_of(config, config.content, random_scaled_crop, 20).batch(1)
    assert found.shape == (3, 3, 20, 20)
    assert torch.equal(found, Photographs(config.content, 20, 3, random_scaled_crop, seed=4).batch(1))


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
