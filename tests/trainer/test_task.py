from pathlib import Path

import pytest

from tests.trainer.samples import style_config, upscale_config
from trainer.config import TrainConfig
from trainer.errors import TrainerError
from trainer.hardware import Hardware
from trainer.style import StyleTask
from trainer.super_resolution import SuperResolutionTask
from trainer.task import build

CPU = Hardware.of("cpu", "fp32")


def test_a_configuration_has_its_task(tmp_path: Path) -> None:
    assert isinstance(build(style_config(tmp_path), CPU), StyleTask)
    assert isinstance(build(upscale_config(tmp_path), CPU), SuperResolutionTask)


def test_options_of_no_task_are_refused(tmp_path: Path) -> None:
    with pytest.raises(TrainerError, match="no task for a TrainConfig"):
        build(TrainConfig(name="wave", content=tmp_path), CPU)
