import errno
import logging
import re
from pathlib import Path

import pytest
import torch

from model_store import ModelStore, StoreAway, StoreError, open_store
from model_store.error_messages import in_words
from tests.trainer.samples import photograph, photographs, run_training, style_arguments, style_config, upscale_config
from trainer.__main__ import main
from trainer.errors import LossNetworkError, RunError, TrainerError
from trainer.hardware import Hardware
from trainer.monitor import TrainingMonitor
from trainer.run_folder import Run
from trainer.task import build
from trainer.train_and_publish import Invocation, hardware_of, publish_run, train_and_publish
from trainer.training_loop import train


def test_training_ends_with_a_published_network(tmp_path: Path) -> None:
    config = style_config(tmp_path)
    printed = train_and_publish(config, Invocation())
    assert printed.startswith("published wave@1 (sha256:")
    assert "curl --data-binary @photo.jpg 'localhost:8000/v1/stylize/wave' -o wave.jpg" in printed
    assert publish_run(config, Run(config.folder)).startswith("published wave@2 (sha256:")
    assert hardware_of(config) == Hardware.of("cpu", "auto")


def test_a_run_that_exists_is_found_before_anything_is_loaded(tmp_path: Path) -> None:
    config = style_config(tmp_path)
    run_training(config)
    absent = config.model_copy(update={"loss_network": "nowhere.safetensors", "content": tmp_path / "none"})
    with pytest.raises(RunError, match="holds a run already"):
        train_and_publish(absent, Invocation())
    with pytest.raises(RunError, match="was begun with other options: style_weight"):
        train_and_publish(absent.model_copy(update={"style_weight": 9.0}), Invocation(resume=True))
    with pytest.raises(RunError, match="holds no run to go on with"):
        train_and_publish(absent.model_copy(update={"run": tmp_path / "other"}), Invocation(resume=True))


@pytest.mark.parametrize("prefix", ["", "file://"])
def test_a_store_that_cannot_be_written_is_found_before_anything_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, prefix: str
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))  # of the cache
    (tmp_path / "file").touch()
    store = f"{prefix}{tmp_path}/file/models"
    config = style_config(tmp_path, store=store, loss_network="nowhere.safetensors")
    with pytest.raises((TrainerError, StoreAway), match=r"Not a directory|cannot be written"):
        train_and_publish(config, Invocation())
    assert not config.folder.exists()
    run_training(style_config(tmp_path, store=store))
    with pytest.raises((TrainerError, StoreAway), match=r"Not a directory|cannot be written"):
        publish_run(config, Run(config.folder))


def test_a_run_that_cannot_be_written_is_found_before_anything_is_loaded(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    config = style_config(tmp_path, run=tmp_path / "file" / "run", loss_network="nowhere.safetensors")
    with pytest.raises(RunError, match=re.escape(f"--run {config.folder} cannot be written: Not a directory")):
        train_and_publish(config, Invocation())


@pytest.mark.parametrize("error", [StoreError("wave: weight has values"), OSError(errno.ENOSPC, "No space left")])
def test_a_trained_state_that_cannot_be_published_is_kept_and_it_is_said_how_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    config = style_config(tmp_path)

    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(ModelStore, "_publish_next", fail)
    kept = f"The trained state is kept in {config.folder}: `pastiche-train publish --run "
    with pytest.raises(
        RunError, match=re.escape(f"not published: {in_words(error)}. {kept}{config.folder}` publishes it")
    ):
        train_and_publish(config, Invocation())
    monkeypatch.undo()
    assert open_store(config.store).names() == []
    assert publish_run(config, Run(config.folder)).startswith("published wave@1 ")


def test_a_training_that_cannot_begin_leaves_no_folder(tmp_path: Path) -> None:
    config = style_config(tmp_path, loss_network=str(tmp_path / "nowhere.safetensors"))
    with pytest.raises(LossNetworkError, match="nowhere"):
        train_and_publish(config, Invocation())
    assert not config.folder.exists()


def test_weights_published_by_request_are_those_of_the_step_and_the_training_goes_on_as_without(tmp_path: Path) -> None:
    config = style_config(tmp_path, save_every=100, precision="fp32")
    task, run = build(config, Hardware.of("cpu", "fp32")), Run(config.folder)
    states: list[int] = []

    def publish() -> str:
        states.append(run.load()["step"])
        publish_run(config, run)
        return "wave@1"

    monitor = TrainingMonitor(publish)
    monitor.request_publish()
    found = train(task, config, run, monitor=monitor)
    expected = run_training(style_config(tmp_path / "other", save_every=100, precision="fp32"))
    assert states == [1]
    assert monitor.status.published == "wave@1"
    assert open_store(config.store).manifest("wave").provenance.steps == 1
    assert all(torch.equal(value, found.state_dict()[key]) for key, value in expected.state_dict().items())


def test_weights_published_by_request_after_the_last_step_are_not_published_again(tmp_path: Path) -> None:
    config = style_config(tmp_path)
    run_training(config)
    publish_run(config, Run(config.folder))
    assert "published as wave@1" in train_and_publish(config, Invocation(resume=True))
    assert open_store(config.store).versions("wave") == [1]


@pytest.mark.parametrize("killed_in", [(ModelStore, "promote"), (Run, "note_published")])
def test_a_network_is_not_published_again_that_was_when_the_process_was_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, killed_in: tuple[type, str]
) -> None:
    earlier = style_config(tmp_path, run=tmp_path / "earlier", steps=1)
    train_and_publish(earlier, Invocation())
    store = open_store(earlier.store)
    store.promote("wave", 1)
    config = style_config(tmp_path)

    def kill(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(*killed_in, kill)
        with pytest.raises(KeyboardInterrupt):
            train_and_publish(config, Invocation())
    assert store.versions("wave") == [1, 2]
    assert train_and_publish(config, Invocation(resume=True)).startswith("published wave@2 (sha256:")
    assert (store.versions("wave"), store.current("wave")) == ([1, 2], 2)
    assert "published as wave@2" in train_and_publish(config, Invocation(resume=True))


def test_figures_of_the_validation_images_are_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    photos = photographs(tmp_path / "Set5", count=1)
    config = upscale_config(tmp_path, steps=1, validation=photos)
    printed = train_and_publish(config, Invocation()).splitlines()
    metrics = open_store(config.store).manifest("x2").provenance.metrics
    assert printed[1].startswith(f"Set5:  {metrics['psnr_set5']:.2f} dB  SSIM {metrics['ssim_set5']:.4f}")
    assert publish_run(config, Run(config.folder)).splitlines()[1] == printed[1]


def test_a_missing_licence_is_said_at_the_start(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "trainer.train_and_publish"):
        train_and_publish(style_config(tmp_path / "with", steps=1, license="CC0-1.0"), Invocation())
        assert not caplog.records
        train_and_publish(style_config(tmp_path / "without", steps=1), Invocation())
    assert "--license is not given" in caplog.text


def test_the_page_is_served_while_the_training_runs(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "trainer.train_and_publish"):
        train_and_publish(style_config(tmp_path, steps=1), Invocation(watch="127.0.0.1:0"))
    assert "watch the training at http://127.0.0.1:" in caplog.text


def test_an_address_that_cannot_be_listened_on_ends_the_command_at_once(tmp_path: Path) -> None:
    config = style_config(tmp_path, loss_network="nowhere.safetensors")
    with pytest.raises(TrainerError, match=r"--watch 203\.0\.113\.1:8100: "):
        train_and_publish(config, Invocation(watch="203.0.113.1:8100"))


def test_options_of_an_invocation_are_options_of_the_command(tmp_path: Path) -> None:
    assert main(style_arguments(tmp_path, "--watch", "127.0.0.1:0")) == 0
    assert '"watch"' not in (tmp_path / "run/config.json").read_text()


def test_a_run_is_neither_resumed_nor_published_with_photographs_of_the_same_names(tmp_path: Path) -> None:
    config = style_config(tmp_path)
    train_and_publish(config, Invocation())
    photograph(tmp_path / "photos" / "0.png", width=90)
    longer = config.model_copy(update={"steps": 8})
    with pytest.raises(RunError, match="was begun with other images"):
        train_and_publish(longer, Invocation(resume=True))
    with pytest.raises(RunError, match="was trained with other photographs"):
        publish_run(config, Run(config.folder))
