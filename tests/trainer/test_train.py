import json
from pathlib import Path

import pytest
import torch

from model_store import ModelStore
from tests.trainer.samples import loss_network_file, photograph, photographs
from trainer.config import StyleConfig, SuperResolutionConfig, TrainConfig
from trainer.errors import RunError, TrainerError, TrainingDiverged
from trainer.hardware import Hardware
from trainer.run import Run
from trainer.tasks import build
from trainer.train import learning_rate, publish, train

TINY = "c3s1-4,d6,R6,u4,c3s1-3"


def style_config(folder: Path, **options: object) -> StyleConfig:
    return StyleConfig.model_validate(
        {
            "name": "wave",
            "content": photographs(folder / "photos"),
            "style_image": photograph(folder / "painting.png", 64, 64, seed=99),
            "loss_network": str(loss_network_file(folder / "loss.safetensors")),
            "store": folder / "models",
            "run": folder / "run",
            "architecture": TINY,
            "image_size": 16,
            "batch": 2,
            "steps": 6,
            "warmup": 2,
            "style_ramp": 0,
            "log_every": 2,
            "preview_every": 3,
            "save_every": 3,
            "device": "cpu",
        }
        | options
    )


def upscale_config(folder: Path, **options: object) -> SuperResolutionConfig:
    return SuperResolutionConfig.model_validate(
        {
            "name": "x2",
            "scale": 2,
            "content": photographs(folder / "photos"),
            "store": folder / "models",
            "run": folder / "run",
            "architecture": "c3s1-8,R8,c3s1-12,p2",
            "image_size": 32,
            "batch": 2,
            "steps": 6,
            "warmup": 0,
            "device": "cpu",
        }
        | options
    )


def run_training(config: TrainConfig, *, resume: bool = False) -> torch.nn.Module:
    task = build(config, Hardware.of(config.device, config.precision))
    return train(task, config, Run(config.folder), resume=resume)


@pytest.mark.parametrize("norm", ["batch", "instance"])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_resumed_run_equals_an_uninterrupted_one(tmp_path: Path, norm: str, precision: str) -> None:
    options = {"norm": norm, "precision": precision, "schedule": "constant"}
    whole = run_training(style_config(tmp_path / "whole", **options))
    run_training(style_config(tmp_path / "parts", steps=3, **options))
    resumed = run_training(style_config(tmp_path / "parts", **options), resume=True)
    expected, found = whole.state_dict(), resumed.state_dict()
    assert expected.keys() == found.keys()
    assert all(torch.equal(expected[key], found[key]) for key in expected)
    states = [Run(tmp_path / name / "run").load() for name in ("whole", "parts")]
    assert states[0]["step"] == states[1]["step"] == 6
    assert all(torch.equal(states[0]["network"][key], states[1]["network"][key]) for key in expected)


def test_an_interrupted_run_keeps_its_state(tmp_path: Path) -> None:
    config = style_config(tmp_path, save_every=100, precision="fp32")
    task = build(config, Hardware.of("cpu", "fp32"))
    losses = task.losses
    calls = iter(range(100))

    def interrupted(batch: torch.Tensor, step: int) -> dict[str, torch.Tensor]:
        if next(calls) == 4:
            raise KeyboardInterrupt
        return losses(batch, step)

    task.losses = interrupted  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        train(task, config, Run(config.folder))
    assert Run(config.folder).load()["step"] == 4
    whole = run_training(style_config(tmp_path / "whole", precision="fp32"))
    resumed = run_training(style_config(tmp_path, save_every=100, precision="fp32"), resume=True)
    assert all(torch.equal(whole.state_dict()[key], value) for key, value in resumed.state_dict().items())


def test_training_lowers_the_loss_and_writes_metrics_and_previews(tmp_path: Path) -> None:
    config = style_config(tmp_path, steps=60, batch=4, style_weight=50, learning_rate=0.01, preview_every=30)
    run_training(config)
    lines = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    styles = [sum(value for name, value in line.items() if name.startswith("style")) for line in lines]
    assert [line["step"] for line in lines] == list(range(2, 61, 2))
    assert sum(styles[-5:]) < 0.5 * sum(styles[:5])
    assert {path.name for path in (tmp_path / "run").glob("*.png")} == {"preview-000030.png", "preview-000060.png"}


def test_super_resolution_learns_to_beat_its_start(tmp_path: Path) -> None:
    run_training(upscale_config(tmp_path, steps=60, learning_rate=0.003, log_every=5))
    losses = [json.loads(line)["pixel"] for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    assert losses[-1] < losses[0]


def test_the_published_network_is_the_averaged_one_in_its_served_form(tmp_path: Path) -> None:
    config = style_config(tmp_path, style_title="A painting")
    task = build(config, Hardware.of("cpu", "fp32"))
    average = train(task, config, Run(config.folder))
    manifest = publish(task, config, Run(config.folder).load())
    model = ModelStore(config.store).load("wave")
    assert (model.manifest.network.form, model.manifest.tileable) == ("native", True)
    assert torch.allclose(
        model.network.state_dict()["layers.0.conv.weight"], average.state_dict()["layers.0.conv.weight"], atol=1e-3
    )
    provenance = manifest.provenance
    assert provenance.steps == 6
    assert provenance.style_image == "A painting"
    assert provenance.style_digest.startswith("sha256:")
    assert provenance.loss_network.startswith("vgg19-distilled, sha256:")
    assert provenance.recipe["style_weight"] == config.style_weight
    assert set(provenance.losses) >= {"content", "tv"}
    assert str(tmp_path) not in manifest.model_dump_json()  # no paths of the machine that trained it
    assert ModelStore(config.store).preview("wave") is not None


def test_the_style_weight_rises_over_its_ramp(tmp_path: Path) -> None:
    task = build(style_config(tmp_path, style_ramp=9), Hardware.of("cpu", "fp32"))
    batch = task.photographs.batch(0)
    with torch.no_grad():
        first, middle, after = (task.losses(batch, step) for step in (0, 4, 20))
    assert (first["style_relu1_2"] / after["style_relu1_2"]).item() == pytest.approx(0.1)
    assert (middle["style_relu1_2"] / after["style_relu1_2"]).item() == pytest.approx(0.5)
    assert torch.equal(first["content"], after["content"])


def test_instance_norm_is_served_as_it_was_trained(tmp_path: Path) -> None:
    config = style_config(tmp_path, norm="instance")
    task = build(config, Hardware.of("cpu", "fp32"))
    train(task, config, Run(config.folder))
    manifest = publish(task, config, Run(config.folder).load())
    assert (manifest.network.form, manifest.tileable) == ("same", False)


def test_the_feature_loss_can_replace_the_pixel_loss(tmp_path: Path) -> None:
    network = str(loss_network_file(tmp_path / "loss.safetensors"))
    config = upscale_config(tmp_path, loss_network=network, feature_weight=1.0, pixel_weight=0.0, blur=1.0)
    task = build(config, Hardware.of("cpu", "fp32"))
    terms = task.losses(task.photographs.batch(0), 0)
    assert terms["pixel"] == 0
    assert terms["feature"] > 0
    train(task, config, Run(config.folder))
    assert publish(task, config, Run(config.folder).load()).provenance.loss_network.startswith("vgg19-distilled")


def test_a_run_is_not_overwritten_nor_continued_with_other_options(tmp_path: Path) -> None:
    config = style_config(tmp_path)
    with pytest.raises(RunError, match="start without --resume"):
        run_training(config, resume=True)
    run_training(config)
    with pytest.raises(RunError, match="pass --resume"):
        run_training(config)
    with pytest.raises(RunError, match=r"style_weight was 5\.0, now 6\.0"):
        run_training(style_config(tmp_path, style_weight=6.0), resume=True)


def test_divergence_is_reported_and_not_saved(tmp_path: Path) -> None:
    config = style_config(tmp_path, content_weight=float("inf"))
    with pytest.raises(TrainingDiverged, match="step 2: the losses are"):
        run_training(config)
    assert not Run(config.folder).state_file.exists()


def test_a_warm_start_begins_with_stored_weights(tmp_path: Path) -> None:
    config = style_config(tmp_path)
    task = build(config, Hardware.of("cpu", "fp32"))
    train(task, config, Run(config.folder))
    publish(task, config, Run(config.folder).load())
    warm = build(style_config(tmp_path, warm_start="wave@1"), Hardware.of("cpu", "fp32"))
    stored = ModelStore(config.store).load("wave").network.state_dict()
    assert all(torch.equal(value, stored[key]) for key, value in warm.network.state_dict().items())
    other = build(style_config(tmp_path, warm_start="wave", norm="instance"), Hardware.of("cpu", "fp32"))
    assert all(torch.equal(value, stored[key]) for key, value in other.network.state_dict().items())
    assert len(other.network.state_dict()) < len(stored)
    with pytest.raises(TrainerError, match="another architecture"):
        build(style_config(tmp_path, warm_start="wave", architecture="c3s1-3"), Hardware.of("cpu", "fp32"))


def test_the_architecture_must_have_the_scale(tmp_path: Path) -> None:
    with pytest.raises(TrainerError, match="enlarges ×4, not ×2"):
        build(upscale_config(tmp_path, architecture="c3s1-48,p4"), Hardware.of("cpu", "fp32"))
    with pytest.raises(TrainerError, match="no multiple of the scale"):
        build(upscale_config(tmp_path, image_size=33), Hardware.of("cpu", "fp32"))


def test_learning_rate_schedules(tmp_path: Path) -> None:
    constant = upscale_config(tmp_path, schedule="constant", warmup=4, steps=100)
    assert [learning_rate(constant, step) / constant.learning_rate for step in (0, 1, 4, 99)] == [0.2, 0.4, 1, 1]
    cosine = upscale_config(tmp_path, warmup=0, steps=100)
    rates = [learning_rate(cosine, step) for step in range(101)]
    assert rates[0] == cosine.learning_rate
    assert rates[50] == pytest.approx(cosine.learning_rate / 2)
    assert rates == sorted(rates, reverse=True)
    assert rates[100] == pytest.approx(0)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_trains_on_a_gpu(tmp_path: Path) -> None:
    config = style_config(tmp_path, device="cuda", steps=20)
    task = build(config, Hardware.of("cuda", "auto"))
    train(task, config, Run(config.folder))
    assert publish(task, config, Run(config.folder).load()).label == "wave@1"
