from pathlib import Path

import torch

from model_store import NetworkSpec
from tests.trainer.samples import style_config
from trainer.data import Photographs, random_scaled_crop
from trainer.hardware import Hardware
from trainer.task_parts import crops_of, new_network

CPU = Hardware.of("cpu", "fp32")
SPEC = NetworkSpec(architecture="c3s1-4,c3s1-3")


def test_the_same_seed_gives_the_same_weights(tmp_path: Path) -> None:
    one, same, other = (
        new_network(style_config(tmp_path, seed=seed), SPEC).state_dict()["layers.0.conv.weight"] for seed in (1, 1, 2)
    )
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


def test_crops_have_the_batch_and_the_seed_of_the_configuration(tmp_path: Path) -> None:
    config = style_config(tmp_path, batch=3, seed=4)
    found = crops_of(config, config.content, random_scaled_crop, 20, CPU).batch(1)
    assert found.shape == (3, 3, 20, 20)
    assert torch.equal(found, Photographs(config.content, 20, 3, random_scaled_crop, seed=4).batch(1))
