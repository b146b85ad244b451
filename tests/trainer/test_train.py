import json
import os
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from pydantic import ValidationError

from model_store import ModelStore, area_reduced
from tests.trainer.samples import loss_network_file, photograph, published, run_training, style_config, upscale_config
from trainer.data import part
from trainer.errors import Interrupted, RunError, TrainerError, TrainingDiverged
from trainer.hardware import Hardware
from trainer.run import Run
from trainer.style import StyleTask
from trainer.super_resolution import SuperResolutionTask
from trainer.tasks import build
from trainer.train import _average, learning_rate, publish, train


@pytest.mark.parametrize(("norm", "zoom"), [("batch", 1.0), ("instance", 1.0), ("thumbnail", 3.0)])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_resumed_run_equals_an_uninterrupted_one(tmp_path: Path, norm: str, zoom: float, precision: str) -> None:
    zooming = {"zoom": zoom, "zoom_from": 0.0}
    options = {"norm": norm, "thumbnail": 24, "precision": precision, "schedule": "constant"} | zooming
    whole = run_training(style_config(tmp_path / "whole", **options))
    run_training(style_config(tmp_path / "parts", steps=3, **options))
    resumed = run_training(style_config(tmp_path / "parts", **options), resume=True)
    expected, found = whole.state_dict(), resumed.state_dict()
    assert expected.keys() == found.keys()
    assert all(torch.equal(expected[key], found[key]) for key in expected)
    states = [Run(tmp_path / name / "run").load() for name in ("whole", "parts")]
    assert states[0]["step"] == states[1]["step"] == 6
    assert all(torch.equal(states[0]["network"][key], states[1]["network"][key]) for key in expected)


class Interrupting(torch.autograd.Function):
    """Passes a value on, and sends a signal to this process while its gradient is computed."""

    @staticmethod
    def forward(ctx: object, value: torch.Tensor, number: signal.Signals) -> torch.Tensor:
        ctx.number = number  # type: ignore[attr-defined]
        return value.clone()

    @staticmethod
    def backward(ctx: object, *gradients: torch.Tensor) -> tuple[torch.Tensor, None]:
        os.kill(os.getpid(), ctx.number)  # type: ignore[attr-defined]
        return gradients[0], None


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_goes_on_exactly_where_it_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    config = style_config(tmp_path, save_every=100, precision="fp32")
    task = build(config, Hardware.of("cpu", "fp32"))
    losses = task.losses

    def interrupted(batch: torch.Tensor, step: int) -> dict[str, torch.Tensor]:
        terms = losses(batch, step)
        return terms | {"content": Interrupting.apply(terms["content"], number)} if step == 3 else terms

    monkeypatch.setattr(task, "losses", interrupted)
    before = signal.getsignal(number)
    with pytest.raises(Interrupted, match="interrupted at step 4; the same command with --resume"):
        train(task, config, Run(config.folder))
    assert signal.getsignal(number) == before
    assert Run(config.folder).load()["step"] == 4
    whole = run_training(style_config(tmp_path / "whole", precision="fp32"))
    resumed = run_training(config, resume=True)
    assert all(torch.equal(whole.state_dict()[key], value) for key, value in resumed.state_dict().items())


def test_a_failing_step_leaves_the_last_saved_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = style_config(tmp_path)
    task = build(config, Hardware.of("cpu", "fp32"))
    losses = task.losses

    def failing(batch: torch.Tensor, step: int) -> dict[str, torch.Tensor]:
        if step == 4:
            raise MemoryError
        return losses(batch, step)

    monkeypatch.setattr(task, "losses", failing)
    with pytest.raises(MemoryError):
        train(task, config, Run(config.folder))
    assert Run(config.folder).load()["step"] == 3


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
    stored = model.network.state_dict()["layers.0.conv.weight"]
    assert torch.equal(stored, average.state_dict()["layers.0.conv.weight"].half().float())
    assert not torch.equal(stored, task.network.state_dict()["layers.0.conv.weight"].half().float())
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
    task = build(style_config(tmp_path, style_ramp=0.9, steps=10), Hardware.of("cpu", "fp32"))
    batch = task.photographs.batch(0)
    with torch.no_grad():
        first, middle, after = (task.losses(batch, step) for step in (0, 4, 20))
    assert (first["style_relu1_2"] / after["style_relu1_2"]).item() == pytest.approx(0.1)
    assert (middle["style_relu1_2"] / after["style_relu1_2"]).item() == pytest.approx(0.5)
    assert torch.equal(first["content"], after["content"])


def test_previews_show_the_photographs_of_their_own_folder(tmp_path: Path) -> None:
    (tmp_path / "white").mkdir()
    Image.new("RGB", (40, 40), "white").save(tmp_path / "white/white.png")
    task = build(style_config(tmp_path, preview=tmp_path / "white"), Hardware.of("cpu", "fp32"))
    picture = task.preview(task.network.eval())
    assert picture.shape == (3, 32, 64)  # four photographs of 16 pixels above what became of them
    assert picture[:, :16].min() == 1
    assert picture[:, 16:].min() < 1


def test_instance_norm_is_served_as_it_was_trained(tmp_path: Path) -> None:
    config = style_config(tmp_path, norm="instance")
    task = build(config, Hardware.of("cpu", "fp32"))
    train(task, config, Run(config.folder))
    manifest = publish(task, config, Run(config.folder).load())
    assert (manifest.network.form, manifest.tileable) == ("same", False)


def test_thumbnail_normalisation_is_served_in_the_native_form(tmp_path: Path) -> None:
    config = style_config(tmp_path, norm="thumbnail", thumbnail=24, zoom=2.0)
    run_training(config)
    task = build(config, Hardware.of("cpu", "fp32"))
    manifest = publish(task, config, Run(config.folder).load())
    assert (manifest.network.form, manifest.tileable, manifest.network.thumbnail) == ("native", True, 24)
    assert (manifest.provenance.recipe["thumbnail"], manifest.provenance.recipe["zoom"]) == (24, 2.0)
    assert ModelStore(config.store).verify("wave") == manifest


def test_a_part_of_a_large_photograph_is_seen_with_the_statistics_of_the_whole(tmp_path: Path) -> None:
    task = build(style_config(tmp_path, norm="thumbnail", thumbnail=24), Hardware.of("cpu", "fp32"))
    assert isinstance(task, StyleTask)
    seen: list[tuple[torch.Size, torch.Tensor | None]] = []

    def record(_: torch.nn.Module, inputs: tuple[torch.Tensor, torch.Tensor | None]) -> None:
        seen.append((inputs[0].shape, inputs[1]))

    task.network.register_forward_pre_hook(record)
    whole = task.photographs.batch(0).repeat(1, 1, 3, 2)[..., :40, :32]
    task.losses(whole[..., :32, :], 0)
    task.losses(whole[..., :16, :16], 0)
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
        shown, wanted = part(both, task.config.image_size, rng).chunk(2, dim=1)
        expected = (task.network(shown) - wanted).square().mean()
        assert torch.allclose(task.losses(whole, 0)["teacher"], 10 * expected, rtol=1e-3)


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


def test_a_run_goes_on_that_was_begun_before_an_option_existed(tmp_path: Path) -> None:
    config = style_config(tmp_path)
    run_training(config)
    options = json.loads((config.folder / "config.json").read_text())
    del options["teacher_weight"]
    (config.folder / "config.json").write_text(json.dumps(options))
    run_training(style_config(tmp_path, steps=8), resume=True)


def test_the_feature_loss_can_replace_the_pixel_loss(tmp_path: Path) -> None:
    network = str(loss_network_file(tmp_path / "loss.safetensors"))
    config = upscale_config(tmp_path, loss_network=network, feature_weight=1.0, pixel_weight=0.0, blur=1.0)
    task = build(config, Hardware.of("cpu", "fp32"))
    terms = task.losses(task.photographs.batch(0), 0)
    assert terms["pixel"] == 0
    assert terms["feature"] > 0
    train(task, config, Run(config.folder))
    assert publish(task, config, Run(config.folder).load()).provenance.loss_network.startswith("vgg19-distilled")


def test_the_loss_network_can_be_kept_from_seeing_the_finest_detail(tmp_path: Path) -> None:
    network = str(loss_network_file(tmp_path / "loss.safetensors"))
    seen: list[torch.Size] = []
    for reduction in (1, 2):
        config = upscale_config(tmp_path, loss_network=network, feature_weight=1.0, loss_reduction=reduction, shift=1)
        task = build(config, Hardware.of("cpu", "fp32"))
        assert isinstance(task, SuperResolutionTask)
        assert task.loss_network is not None
        task.loss_network.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].shape[-2:]))
        task.losses(task.photographs.batch(0), 0)
    assert seen == [(32, 32), (32, 32), (16, 16), (16, 16)]


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"feature_weight": 1.0, "loss_reduction": 8}, "leaves the loss network 3 pixels a side, too few"),
        ({"texture_weight": 1.0}, "leaves the loss network 30 pixels a side, too few"),
        ({"loss_reduction": 2}, "is nothing without --feature-weight or --texture-weight"),
    ],
)
def test_a_loss_network_that_sees_too_little_is_refused(
    tmp_path: Path, options: dict[str, float], complaint: str
) -> None:
    network = str(loss_network_file(tmp_path / "loss.safetensors"))
    with pytest.raises(TrainerError, match=complaint):
        build(upscale_config(tmp_path, loss_network=network, **options), Hardware.of("cpu", "fp32"))


def test_a_run_is_not_overwritten_nor_continued_with_other_options(tmp_path: Path) -> None:
    config = style_config(tmp_path)
    with pytest.raises(RunError, match="start without --resume"):
        run_training(config, resume=True)
    run_training(config)
    with pytest.raises(RunError, match="pass --resume"):
        run_training(config)
    with pytest.raises(RunError, match=r"style_weight was 5\.0, now 6\.0"):
        run_training(style_config(tmp_path, style_weight=6.0), resume=True)
    other = loss_network_file(tmp_path / "other.safetensors", width=4)
    with pytest.raises(RunError, match="another loss network"):
        run_training(style_config(tmp_path, loss_network=str(other)), resume=True)
    photograph(config.content / "another.png")
    with pytest.raises(RunError, match="with other images"):
        run_training(config, resume=True)


def test_a_resumed_run_does_not_repeat_its_metrics_and_remembers_its_options(tmp_path: Path) -> None:
    run_training(style_config(tmp_path, steps=4, save_every=4, log_every=1))
    metrics = tmp_path / "run/metrics.jsonl"
    with metrics.open("a") as file:
        file.write('{"step": 5}\n{"step": 6}\n{"ste')  # a run that was killed after its last saved state
    run_training(style_config(tmp_path, log_every=1, title="New"), resume=True)
    assert [json.loads(line)["step"] for line in metrics.read_text().splitlines()] == [1, 2, 3, 4, 5, 6]
    assert json.loads(Run(tmp_path / "run").config_file.read_text())["title"] == "New"


def test_a_run_may_move(tmp_path: Path) -> None:
    config = style_config(tmp_path / "old", steps=3)
    run_training(config)
    (tmp_path / "old").rename(tmp_path / "new")
    run_training(style_config(tmp_path / "new"), resume=True)
    assert Run(tmp_path / "new/run").load()["step"] == 6


def test_divergence_is_reported_and_not_saved(tmp_path: Path) -> None:
    config = style_config(tmp_path, learning_rate=1e30, warmup=0)
    with pytest.raises(TrainingDiverged, match=r"step [23]: .*a new run with a lower --learning-rate"):
        run_training(config)
    assert not Run(config.folder).state_file.exists()


def test_a_gradient_that_is_no_number_is_not_saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = style_config(tmp_path, log_every=100, save_every=2)
    task = build(config, Hardware.of("cpu", "fp32"))
    losses = task.losses

    def exploding(batch: torch.Tensor, step: int) -> dict[str, torch.Tensor]:
        terms = losses(batch, step)
        return terms | {"tv": (terms["tv"] * 0).sqrt()} if step == 3 else terms  # 0, with an infinite slope

    monkeypatch.setattr(task, "losses", exploding)
    with pytest.raises(TrainingDiverged, match="step 4"):
        train(task, config, Run(config.folder))
    assert Run(config.folder).load()["step"] == 2


def test_the_average_follows_the_weights_slowly(tmp_path: Path) -> None:
    network = torch.nn.BatchNorm2d(2)
    average = torch.nn.BatchNorm2d(2)
    network.weight.data.fill_(3.0)
    network.running_mean = torch.tensor([10.0, 20.0])
    network.num_batches_tracked = torch.tensor(7)
    _average(average, network, 0.75)
    assert average.weight.tolist() == [1.5, 1.5]
    assert average.running_mean is not None
    assert average.running_mean.tolist() == [2.5, 5.0]
    assert average.num_batches_tracked is not None
    assert average.num_batches_tracked.item() == 7


@pytest.mark.parametrize(("clip", "clipped"), [(0.001, True), (0, False)])
def test_gradients_are_clipped_unless_told_not_to(tmp_path: Path, clip: float, clipped: bool) -> None:
    config = upscale_config(tmp_path, steps=1, clip=clip, learning_rate=1e-9)
    task = build(config, Hardware.of("cpu", "fp32"))
    train(task, config, Run(config.folder))
    gradients = [parameter.grad for parameter in task.network.parameters() if parameter.grad is not None]
    norm = torch.linalg.vector_norm(torch.cat([gradient.flatten() for gradient in gradients]))
    assert (norm <= 0.0011) == clipped


@pytest.mark.parametrize("norm", ["instance", "thumbnail"])
def test_a_batch_computed_in_parts_makes_the_same_step(tmp_path: Path, norm: str) -> None:
    options = {"norm": norm, "batch": 4, "steps": 1, "zoom": 1.0, "precision": "fp32", "warmup": 0}
    gradients, losses = [], []
    for parts in (1, 2, 4):
        config = style_config(tmp_path / str(parts), accumulate=parts, **options)
        task = build(config, Hardware.of("cpu", "fp32"))
        train(task, config, Run(config.folder))
        gradients.append(
            torch.cat([value.grad.flatten() for value in task.network.parameters() if value.grad is not None])
        )
        losses.append(Run(config.folder).load()["losses"])
    for gradient, terms in zip(gradients[1:], losses[1:], strict=True):
        assert torch.allclose(gradient, gradients[0], rtol=1e-3, atol=1e-5)
        assert terms == pytest.approx(losses[0], rel=1e-3)
    assert gradients[0].abs().max() > 1e-3


def test_parts_divide_the_batch(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="--accumulate 3 does not divide a batch of 4"):
        style_config(tmp_path, batch=4, accumulate=3)


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
