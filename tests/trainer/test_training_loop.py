import json
import os
import shutil
import signal
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import torch

from model_store import TransformNetwork
from tests.trainer.samples import photographs, run_training, style_config, upscale_config
from trainer.errors import DataError, Interrupted, TrainingDiverged
from trainer.hardware import Hardware
from trainer.publishing import publish
from trainer.run_folder import Run
from trainer.step_inputs import StepInputs
from trainer.task import build
from trainer.training_loop import train


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


def test_a_resumed_run_reports_the_losses_of_an_uninterrupted_one(tmp_path: Path) -> None:
    options = {"precision": "fp32", "schedule": "constant", "log_every": 4}
    run_training(style_config(tmp_path / "whole", steps=8, **options))
    for steps in (3, 7, 8):
        run_training(style_config(tmp_path / "parts", steps=steps, **options), resume=steps > 3)
    whole, parts = (Run(tmp_path / name / "run") for name in ("whole", "parts"))
    assert parts.load()["losses"] == whole.load()["losses"]
    found, expected = (
        [json.loads(line) | {"images_per_second": 0} for line in run.metrics_file.read_text().splitlines()]
        for run in (parts, whole)
    )
    assert found == expected


def test_states_of_earlier_versions_are_resumed(tmp_path: Path) -> None:
    run = Run(tmp_path / "run")
    run_training(style_config(tmp_path, steps=3))
    state = run.load()
    del state["recent_losses"]
    run.save(state)
    run_training(style_config(tmp_path), resume=True)
    assert run.load()["step"] == 6


def test_the_number_of_threads_that_prepare_photographs_changes_no_bit(tmp_path: Path) -> None:
    options = {"zoom": 3.0, "zoom_from": 0.5, "precision": "fp32", "batch": 3}
    one, many = (
        run_training(style_config(tmp_path / str(workers), workers=workers, **options)).state_dict()
        for workers in (1, 3)
    )
    assert all(torch.equal(one[name], value) for name, value in many.items())


class Interrupting(torch.autograd.Function):
    """The identity; the backward pass sends a signal to this process."""

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
    losses, steps = task.losses, count()

    def interrupted(inputs: StepInputs) -> dict[str, torch.Tensor]:
        terms = losses(inputs)
        return terms | {"content": Interrupting.apply(terms["content"], number)} if next(steps) == 3 else terms

    monkeypatch.setattr(task, "losses", interrupted)
    before = signal.getsignal(number)
    with pytest.raises(Interrupted, match="interrupted at step 4; the same command with --resume"):
        train(task, config, Run(config.folder))
    assert signal.getsignal(number) == before
    assert Run(config.folder).load()["step"] == 4
    whole = run_training(style_config(tmp_path / "whole", precision="fp32"))
    resumed = run_training(config, resume=True)
    assert all(torch.equal(whole.state_dict()[key], value) for key, value in resumed.state_dict().items())


def test_a_run_whose_photographs_are_gone_saves_its_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = style_config(tmp_path, cache_mb=0, save_every=100, precision="fp32")
    task = build(config, Hardware.of("cpu", "fp32"))
    batch = task.photographs.batch

    def gone(step: int, places: range | None = None) -> torch.Tensor:
        if step == 4:
            shutil.rmtree(config.content)
        return batch(step, places)

    monkeypatch.setattr(task.photographs, "batch", gone)
    told = r"none of the 5 images can be used; .*; stopped after step 4: the same command with --resume goes on"
    with pytest.raises(DataError, match=told):
        train(task, config, Run(config.folder))
    assert Run(config.folder).load()["step"] == 4
    photographs(config.content)
    whole = run_training(style_config(tmp_path / "whole", precision="fp32"))
    resumed = run_training(config, resume=True)
    assert all(torch.equal(whole.state_dict()[key], value) for key, value in resumed.state_dict().items())


def test_ctrl_c_during_the_last_preview_stops_before_anything_is_published(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = style_config(tmp_path, steps=1)
    task = build(config, Hardware.of("cpu", "fp32"))
    preview = task.preview

    def interrupted(network: TransformNetwork) -> torch.Tensor:
        os.kill(os.getpid(), signal.SIGINT)
        return preview(network)

    monkeypatch.setattr(task, "preview", interrupted)
    with pytest.raises(Interrupted, match="interrupted at step 1; the same command with --resume goes on from there"):
        train(task, config, Run(config.folder))
    assert Run(config.folder).load()["step"] == 1
    run_training(config, resume=True)


def test_a_failing_step_leaves_the_last_saved_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = style_config(tmp_path)
    task = build(config, Hardware.of("cpu", "fp32"))
    losses, steps = task.losses, count()

    def failing(inputs: StepInputs) -> dict[str, torch.Tensor]:
        if next(steps) == 4:
            raise RuntimeError("the device is gone")
        return losses(inputs)

    monkeypatch.setattr(task, "losses", failing)
    with pytest.raises(RuntimeError, match="the device is gone"):
        train(task, config, Run(config.folder))
    assert Run(config.folder).load()["step"] == 3


def test_training_lowers_the_loss_and_writes_metrics_and_previews(tmp_path: Path) -> None:
    config = style_config(tmp_path, steps=60, batch=4, style_weight=50, learning_rate=0.01, preview_every=30)
    run_training(config)
    lines = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    styles = [sum(value for name, value in line.items() if name.startswith("style")) for line in lines]
    assert [line["step"] for line in lines] == list(range(2, 61, 2))
    assert sum(styles[-5:]) < 0.7 * sum(styles[:5])
    assert {path.name for path in (tmp_path / "run").glob("*.png")} == {"preview-000030.png", "preview-000060.png"}


def test_a_preview_that_fails_costs_no_training(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    config = style_config(tmp_path, preview=photographs(tmp_path / "shown"), cache_mb=0, preview_every=2, save_every=2)
    task = build(config, Hardware.of("cpu", "fp32"))
    for file in (tmp_path / "shown").iterdir():
        file.write_bytes(b"no image")
    train(task, config, Run(config.folder))
    assert Run(config.folder).load()["step"] == 6
    assert Run(config.folder).previews() == []
    assert "no preview of step 2: none of the 5 images can be used" in caplog.text


def test_a_preview_without_memory_costs_no_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    config = style_config(tmp_path, preview_every=2)
    task = build(config, Hardware.of("cpu", "fp32"))
    monkeypatch.setattr(task, "preview", lambda _: torch.empty(2**50))
    train(task, config, Run(config.folder))
    assert Run(config.folder).load()["step"] == 6
    assert "no preview of step 2: there is not enough memory for it" in caplog.text
    monkeypatch.setattr(task, "preview", lambda _: torch.zeros(2) @ torch.zeros(3))
    with pytest.raises(RuntimeError, match="size"):
        train(task, style_config(tmp_path, run=tmp_path / "other"), Run(tmp_path / "other"))


@pytest.mark.parametrize("make", [style_config, upscale_config])
def test_photographs_for_previews_are_looked_at_before_the_first_step(tmp_path: Path, make: Callable[..., Any]) -> None:
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken/photo.jpg").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"none of the 1 images can be used; the last: .*photo.jpg"):
        build(make(tmp_path, preview=tmp_path / "broken"), Hardware.of("cpu", "fp32"))
    (tmp_path / "empty").mkdir()
    for preview, complaint in (("empty", "no images in .*empty; --preview takes"), ("gone", "is no folder; --preview")):
        with pytest.raises(DataError, match=complaint):
            build(make(tmp_path, preview=tmp_path / preview), Hardware.of("cpu", "fp32"))


def test_divergence_is_reported_and_not_saved(tmp_path: Path) -> None:
    config = style_config(tmp_path, learning_rate=1e30, warmup=0)
    with pytest.raises(TrainingDiverged, match=r"step [23]: .*a new run with a lower --learning-rate"):
        run_training(config)
    assert not Run(config.folder).state_file.exists()


def test_a_state_with_a_nan_gradient_is_not_saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = style_config(tmp_path, log_every=100, save_every=2)
    task = build(config, Hardware.of("cpu", "fp32"))
    losses, steps = task.losses, count()

    def exploding(inputs: StepInputs) -> dict[str, torch.Tensor]:
        terms = losses(inputs)
        return terms | {"tv": (terms["tv"] * 0).sqrt()} if next(steps) == 3 else terms  # value 0, gradient NaN

    monkeypatch.setattr(task, "losses", exploding)
    with pytest.raises(TrainingDiverged, match="step 4"):
        train(task, config, Run(config.folder))
    assert Run(config.folder).load()["step"] == 2


@pytest.mark.parametrize(("clip", "clipped"), [(0.001, True), (0, False)])
def test_gradients_are_clipped_unless_clip_is_zero(tmp_path: Path, clip: float, clipped: bool) -> None:
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


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_trains_on_a_gpu(tmp_path: Path) -> None:
    config = style_config(tmp_path, device="cuda", steps=20)
    task = build(config, Hardware.of("cuda", "auto"))
    train(task, config, Run(config.folder))
    assert publish(task, config, Run(config.folder).load()).label == "wave@1"


def test_the_learning_rate_that_is_logged_is_that_of_the_step(tmp_path: Path) -> None:
    config = style_config(tmp_path, log_every=1, warmup=0)
    run_training(config)
    rates = [json.loads(line)["learning_rate"] for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    assert rates[0] == config.learning_rate
    assert rates[-1] == Run(config.folder).load()["optimizer"]["param_groups"][0]["lr"] > 0
