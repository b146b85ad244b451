import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from model_store import StoreError, area_reduced
from tests.trainer.samples import published, run_training, style_config, upscale_config
from trainer.augmentation import random_part
from trainer.errors import RunError, TrainerError
from trainer.hardware import Hardware
from trainer.style import StyleTask
from trainer.task import build


def test_the_style_weight_rises_over_its_ramp(tmp_path: Path) -> None:
    task = build(style_config(tmp_path, style_ramp=0.9, steps=10), Hardware.of("cpu", "fp32"))
    batch = task.photographs.batch(0)
    with torch.no_grad():
        first, middle, after = (task.losses(task.inputs(batch, step)) for step in (0, 4, 20))
    assert (first["style_relu1_2"] / after["style_relu1_2"]).item() == pytest.approx(0.1)
    assert (middle["style_relu1_2"] / after["style_relu1_2"]).item() == pytest.approx(0.5)
    assert torch.equal(first["content"], after["content"])


@pytest.mark.parametrize("missing", ["painting.jpg", "nobody"])
def test_what_is_missing_is_told_before_the_loss_network_is_fetched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    monkeypatch.setattr("trainer.style.load_loss_network", lambda *_: pytest.fail("it was fetched"))
    options = {"teacher": "nobody"} if missing == "nobody" else {"style_image": tmp_path / missing}
    with pytest.raises((TrainerError, StoreError, OSError), match=missing):
        build(style_config(tmp_path, **options), Hardware.of("cpu", "fp32"))


def test_previews_show_the_photographs_of_their_own_folder(tmp_path: Path) -> None:
    (tmp_path / "white").mkdir()
    Image.new("RGB", (40, 40), "white").save(tmp_path / "white/white.png")
    task = build(style_config(tmp_path, preview=tmp_path / "white"), Hardware.of("cpu", "fp32"))
    picture = task.preview(task.network.eval())
    assert picture.shape == (3, 32, 64)  # four photographs of 16 pixels, the outputs below
    assert picture[:, :16].min() == 1
    assert picture[:, 16:].min() < 1


def test_a_part_of_a_large_photograph_is_seen_with_the_statistics_of_the_whole(tmp_path: Path) -> None:
    task = build(style_config(tmp_path, norm="thumbnail", thumbnail=24), Hardware.of("cpu", "fp32"))
    assert isinstance(task, StyleTask)
    seen: list[tuple[torch.Size, torch.Tensor | None]] = []

    def record(_: torch.nn.Module, inputs: tuple[torch.Tensor, torch.Tensor | None]) -> None:
        seen.append((inputs[0].shape, inputs[1]))

    task.network.register_forward_pre_hook(record)
    whole = task.photographs.batch(0).repeat(1, 1, 3, 2)[..., :40, :32]
    task.losses(task.inputs(whole[..., :32, :], 0))
    task.losses(task.inputs(whole[..., :16, :16], 0))
    with torch.no_grad():
        expected = task.network.statistics(area_reduced(whole[..., :32, :].float() / 255, 24))
    (large, given), (small, own) = seen
    assert large == small == (2, 3, 16, 16)
    assert given is not None
    assert torch.allclose(given, expected, rtol=1e-4, atol=1e-4)
    assert own is None


def test_a_network_learns_from_a_teacher_that_cannot_be_tiled(tmp_path: Path) -> None:
    published(style_config(tmp_path, name="teacher", norm="instance", run=tmp_path / "teacher"))
    weights = {"content_weight": 0, "style_weight": 0, "tv_weight": 0, "grid_weight": 0}
    config = style_config(tmp_path, norm="batch", steps=60, teacher="teacher", ema=0, learning_rate=0.01, **weights)
    manifest = published(config)
    lines = [json.loads(line) for line in (config.folder / "metrics.jsonl").read_text().splitlines()]
    assert lines[-1]["teacher"] < 0.5 * lines[0]["teacher"]
    assert (manifest.tileable, manifest.provenance.recipe["teacher"]) == (True, "teacher@1")


@pytest.mark.parametrize("norm", ["instance", "thumbnail"])
def test_of_a_large_photograph_a_part_of_the_teachers_painting_is_learned(tmp_path: Path, norm: str) -> None:
    published(style_config(tmp_path, name="teacher", norm=norm, thumbnail=24, run=tmp_path / "teacher"))
    task = build(style_config(tmp_path, norm="batch", teacher="teacher", shift=1), Hardware.of("cpu", "fp32"))
    assert isinstance(task, StyleTask)
    assert task.teacher is not None
    whole = task.photographs.batch(0).repeat(1, 1, 3, 3)
    photograph = whole.float() / 255
    rng = np.random.default_rng((task.config.seed, 0, 2))
    with torch.no_grad():
        both = torch.cat([photograph, task.teacher.network(photograph)], dim=1)
        shown, wanted = random_part(both, task.config.image_size, rng).chunk(2, dim=1)
        expected = (task.network(shown) - wanted).square().mean()
        assert torch.allclose(task.losses(task.inputs(whole, 0))["teacher"], 10 * expected, rtol=1e-3)


def test_a_teacher_does_not_enlarge_and_is_the_same_when_a_run_goes_on(tmp_path: Path) -> None:
    published(upscale_config(tmp_path, run=tmp_path / "x2"))
    with pytest.raises(TrainerError, match="--teacher x2 enlarges ×2; a style network is wanted"):
        build(style_config(tmp_path, teacher="x2"), Hardware.of("cpu", "fp32"))
    taught = style_config(tmp_path, teacher="teacher")
    published(style_config(tmp_path, name="teacher", run=tmp_path / "teacher"))
    run_training(taught)
    published(style_config(tmp_path, name="teacher", run=tmp_path / "other", seed=1))
    with pytest.raises(RunError, match="another teacher"):
        run_training(taught, resume=True)
    run_training(style_config(tmp_path, teacher="teacher@1", steps=8), resume=True)
