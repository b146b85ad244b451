from pathlib import Path

import pytest
import torch

from model_store import NetworkSpec
from model_store.networks.layers import Norm
from tests.trainer.samples import style_config
from trainer.data import Photographs, random_scaled_crop
from trainer.errors import TrainerError
from trainer.hardware import Hardware
from trainer.task_parts import crops_of, new_network, served_spec

CPU = Hardware.of("cpu", "fp32")
SPEC = NetworkSpec(architecture="c3s1-4,c3s1-3")


def test_the_same_seed_gives_the_same_weights(tmp_path: Path) -> None:
    one, same, other = (
        new_network(style_config(tmp_path, seed=seed), SPEC).state_dict()["layers.0.conv.weight"] for seed in (1, 1, 2)
    )
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


@pytest.mark.parametrize("norm", ["batch", "thumbnail", "none"])
def test_a_network_that_could_not_be_served_is_refused_before_it_is_trained(tmp_path: Path, norm: Norm) -> None:
    spec = NetworkSpec(architecture="c3s1-4,d6,t4,c3s1-3", norm=norm, form="same")
    with pytest.raises(TrainerError, match=f"c3s1-4,d6,t4,c3s1-3 with --norm {norm}: a transposed .*; u64 doubles"):
        new_network(style_config(tmp_path), spec)
    served = served_spec(spec.model_copy(update={"norm": "instance"}))
    assert (served.form, served.tileable) == ("same", False)


def test_crops_have_the_batch_and_the_seed_of_the_configuration(tmp_path: Path) -> None:
    config = style_config(tmp_path, batch=3, seed=4)
    found = crops_of(config, config.content, random_scaled_crop, 20, CPU).batch(1)
    assert found.shape == (3, 3, 20, 20)
    assert torch.equal(found, Photographs(config.content, 20, 3, random_scaled_crop, seed=4).batch(1))
