import json
from pathlib import Path

import pytest
import torch

from model_store import NetworkSpec
from tests.trainer.samples import (
    loss_network_file,
    photograph,
    published,
    run_training,
    teacher_file,
    upscale_config,
)
from trainer.config import AnswersConfig, SuperResolutionConfig
from trainer.errors import RunError, TrainerError
from trainer.hardware import Hardware
from trainer.publishing import publish
from trainer.run_folder import Run
from trainer.super_resolution import SuperResolutionTask
from trainer.task import build
from trainer.teacher_answers import compute_answers
from trainer.training_loop import train


def test_super_resolution_learns_to_beat_its_start(tmp_path: Path) -> None:
    run_training(upscale_config(tmp_path, steps=60, learning_rate=0.003, log_every=5))
    losses = [json.loads(line)["pixel"] for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    assert losses[-1] < losses[0]


def test_the_feature_loss_can_replace_the_pixel_loss(tmp_path: Path) -> None:
    network = str(loss_network_file(tmp_path / "loss.safetensors"))
    config = upscale_config(tmp_path, loss_network=network, feature_weight=1.0, pixel_weight=0.0, blur=1.0)
    task = build(config, Hardware.of("cpu", "fp32"))
    terms = task.losses(task.inputs(task.photographs.batch(0), 0))
    assert terms["pixel"] == 0
    assert terms["feature"] > 0
    train(task, config, Run(config.folder))
    assert publish(task, config, Run(config.folder).load()).provenance.loss_network.startswith("vgg19-distilled")


def test_the_perceptual_distance_is_that_of_zoomed_images(tmp_path: Path) -> None:
    network = str(loss_network_file(tmp_path / "loss.safetensors"))
    config = upscale_config(tmp_path, loss_network=network, perceptual_weight=2.0, image_size=48)
    task = build(config, Hardware.of("cpu", "fp32"))
    assert isinstance(task, SuperResolutionTask)
    assert task.objective.loss_network is not None
    seen: list[int] = []
    task.objective.loss_network.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].shape[-1]))
    batch = task.photographs.batch(0)
    terms = [task.losses(task.inputs(batch, step)) for step in range(6)]
    assert set(terms[0]) == {"pixel", "perceptual"}
    assert len(seen) == 12  # the enlarged image and the wanted one, once each
    assert seen[::2] == seen[1::2]
    assert len(set(seen)) > 3
    halved = build(upscale_config(tmp_path, loss_network=network, perceptual_weight=1.0, image_size=48), task.hardware)
    assert terms[3]["perceptual"].item() == pytest.approx(
        2 * halved.losses(halved.inputs(batch, 3))["perceptual"].item()
    )
    terms[0]["perceptual"].backward()
    assert all(weight.grad is not None for weight in task.network.parameters())


def test_loss_reduction_is_the_size_of_the_loss_networks_input(tmp_path: Path) -> None:
    network = str(loss_network_file(tmp_path / "loss.safetensors"))
    seen: list[torch.Size] = []
    for reduction in (1, 2):
        config = upscale_config(tmp_path, loss_network=network, feature_weight=1.0, loss_reduction=reduction, shift=1)
        task = build(config, Hardware.of("cpu", "fp32"))
        assert isinstance(task, SuperResolutionTask)
        assert task.objective.loss_network is not None
        task.objective.loss_network.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].shape[-2:]))
        task.losses(task.inputs(task.photographs.batch(0), 0))
    assert seen == [(32, 32), (32, 32), (16, 16), (16, 16)]


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"feature_weight": 1.0, "loss_reduction": 8}, "leaves the loss network 3 pixels a side, too few"),
        ({"perceptual_weight": 1.0, "loss_reduction": 4}, "leaves the loss network 5 pixels a side, too few"),
        ({"texture_weight": 1.0}, "leaves the loss network 30 pixels a side, too few"),
        ({"adversary_weight": 1.0, "loss_reduction": 8}, "leaves the loss network 3 pixels a side, too few"),
        (
            {"loss_reduction": 2},
            "is nothing without --feature-weight, --texture-weight, --perceptual-weight or --adversary-weight",
        ),
    ],
)
def test_too_small_inputs_of_the_loss_network_are_refused(
    tmp_path: Path, options: dict[str, float], complaint: str
) -> None:
    network = str(loss_network_file(tmp_path / "loss.safetensors"))
    with pytest.raises(TrainerError, match=complaint):
        build(upscale_config(tmp_path, loss_network=network, **options), Hardware.of("cpu", "fp32"))


def test_the_noise_of_an_image_depends_on_the_seed_the_step_and_the_image(tmp_path: Path) -> None:
    config = upscale_config(tmp_path, noise_channels=3, batch=4)
    task = build(config, Hardware.of("cpu", "fp32"))
    batch = task.photographs.batch(0)
    noise = task.inputs(batch, 0).tensors["noise"]
    assert noise.shape == (4, 3, 16, 16)
    assert noise.abs().max() < 1.74
    assert float(noise.std()) == pytest.approx(1, abs=0.1)
    assert not torch.equal(noise[0], noise[1])
    assert torch.equal(task.inputs(batch[2:], 0).tensors["noise"], noise[2:])  # the part of one process of several
    assert not torch.equal(task.inputs(batch, 1).tensors["noise"], noise)
    other = build(upscale_config(tmp_path, noise_channels=3, batch=4, seed=1), task.hardware)
    assert not torch.equal(other.inputs(batch, 0).tensors["noise"], noise)


def test_a_network_learns_with_noise_and_is_published_with_it(tmp_path: Path) -> None:
    manifest = published(upscale_config(tmp_path, noise_channels=2, preview_every=3))
    assert isinstance(manifest.network, NetworkSpec)
    assert manifest.network.noise_channels == 2
    assert manifest.provenance.recipe["noise_channels"] == 2


def test_noise_wants_a_convolution_as_the_first_layer(tmp_path: Path) -> None:
    with pytest.raises(TrainerError, match="with --noise-channels 2: noise channels are for a convolution as"):
        build(upscale_config(tmp_path, architecture="R3,c3s1-12,p2", noise_channels=2), Hardware.of("cpu", "fp32"))


def test_the_architecture_must_have_the_scale(tmp_path: Path) -> None:
    with pytest.raises(TrainerError, match="enlarges ×4, not ×2"):
        build(upscale_config(tmp_path, architecture="c3s1-48,p4"), Hardware.of("cpu", "fp32"))
    with pytest.raises(TrainerError, match="no multiple of the scale"):
        build(upscale_config(tmp_path, image_size=33), Hardware.of("cpu", "fp32"))


def test_a_network_learns_to_mend_what_photographs_go_through(tmp_path: Path) -> None:
    options = {"degradation": "photo", "learning_rate": 0.003, "log_every": 5, "preview_every": 60}
    run_training(upscale_config(tmp_path, steps=60, **options))
    losses = [json.loads(line)["pixel"] for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    assert losses[-1] < losses[0]
    assert (tmp_path / "run/preview-000060.png").exists()


def taught(folder: Path, **options: object) -> SuperResolutionConfig:
    """A run that learns from the answers of a teacher, which are computed first."""
    fields = {
        "degradation": "photo",
        "teacher": teacher_file(folder / "teacher.safetensors"),
        "teacher_license": "CC0-1.0",
        "answers": folder / "answers",
        "answer_count": 4,
        "answer_side": 24,
    }
    return upscale_config(folder, **fields | options)


def test_a_network_learns_what_its_teacher_makes_of_damaged_photographs(tmp_path: Path) -> None:
    run_training(taught(tmp_path))
    assert len([*(tmp_path / "answers").glob("*.safetensors")]) == 4
    config = taught(tmp_path, teacher=None)  # what is there is enough
    manifest = publish(build(config, Hardware.of("cpu", "fp32")), config, Run(config.folder).load())
    teacher = manifest.provenance.recipe["teacher"]
    assert teacher["teacher"] == "teacher.safetensors"
    assert teacher["license"] == "CC0-1.0"
    assert teacher["digest"].startswith("sha256:")


def test_the_manifest_says_what_the_answers_are_the_answers_to(tmp_path: Path) -> None:
    fields = taught(tmp_path, seed=5).model_dump(include=set(AnswersConfig.model_fields))
    compute_answers(AnswersConfig.model_validate(fields), Hardware.of("cpu", "fp32"))
    alone = {"teacher": None, "answer_side": 64, "steps": 1}
    provenance = published(taught(tmp_path, **alone)).provenance
    assert provenance.data == "4 answers of a teacher to damaged squares of 5 photographs"
    assert (provenance.recipe["answer_side"], provenance.recipe["teacher"]["seed"]) == (24, 5)
    photograph(tmp_path / "photos/another.png")
    other = published(taught(tmp_path, **alone, run=tmp_path / "other")).provenance
    assert other.data == "4 answers of a teacher to damaged squares of other photographs than those of --content"
    assert published(taught(tmp_path, **alone, run=tmp_path / "third", data="mine")).provenance.data == "mine"


def test_a_run_is_not_resumed_with_other_answers(tmp_path: Path) -> None:
    run_training(taught(tmp_path))
    with pytest.raises(RunError, match="answer_count was 4, now 5"):
        run_training(taught(tmp_path, answer_count=5), resume=True)
