from pathlib import Path

import pytest
import torch
from pydantic import ValidationError

from tests.trainer.samples import style_config, upscale_config
from trainer.config import (
    DESCRIPTIVE_OPTIONS,
    PATH_OPTIONS,
    RESUMABLE_OPTIONS,
    StyleConfig,
    SuperResolutionConfig,
)
from trainer.data import low_resolution


def test_the_groups_of_options_name_options_that_exist_and_do_not_overlap() -> None:
    names = [*DESCRIPTIVE_OPTIONS, *PATH_OPTIONS, *RESUMABLE_OPTIONS]
    assert set(names) <= {*StyleConfig.model_fields, *SuperResolutionConfig.model_fields}
    assert len(names) == len(set(names))


@pytest.mark.parametrize("config_type", [StyleConfig, SuperResolutionConfig])
def test_every_option_has_a_description(config_type: type[StyleConfig | SuperResolutionConfig]) -> None:
    assert [name for name, field in config_type.model_fields.items() if not field.description] == []


def test_a_configuration_that_was_written_is_read_again(tmp_path: Path) -> None:
    for config in (style_config(tmp_path, style_layers="relu1_2:0.3"), upscale_config(tmp_path)):
        assert type(config).model_validate_json(config.model_dump_json()) == config


def test_unknown_options_and_changes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="Extra inputs are not permitted"):
        style_config(tmp_path, stile_weight=1)
    with pytest.raises(ValidationError, match="frozen"):
        style_config(tmp_path).steps = 7  # type: ignore[misc]


def test_runs_have_the_folder_of_their_name_unless_another_is_given(tmp_path: Path) -> None:
    assert style_config(tmp_path, run=None).folder == Path("runs/wave")
    assert style_config(tmp_path, run=tmp_path / "other").folder == tmp_path / "other"


def test_parts_divide_the_batch(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="--accumulate 3 does not divide a batch of 4"):
        style_config(tmp_path, batch=4, accumulate=3)


def test_a_blur_is_smaller_than_the_crops(tmp_path: Path) -> None:
    config = upscale_config(tmp_path, blur=5.1, image_size=16)
    assert low_resolution(torch.zeros(1, 3, 16, 16), 2, config.blur).shape == (1, 3, 8, 8)
    with pytest.raises(ValidationError, match=r"--blur 5\.4 reaches 16 pixels, beyond crops of --image-size 16"):
        upscale_config(tmp_path, blur=5.4, image_size=16)
