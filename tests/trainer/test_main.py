import os
import signal
from collections.abc import Iterable
from pathlib import Path

import pytest
import torch

from model_store import ModelStore
from tests.trainer.samples import style_arguments
from trainer.__main__ import main


def test_one_command_trains_and_publishes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(style_arguments(tmp_path)) == 0
    assert "published wave@1 (sha256:" in capsys.readouterr().out
    assert ModelStore(tmp_path / "models").verify("wave").task == "style"


@pytest.mark.parametrize(
    ("option", "value", "complaint", "status"),
    [
        ("--steps", "0", "--steps: Input should be greater than or equal to 1", 2),
        ("--name", "Wave!", "--name: expected up to 64 small letters, digits, '.', '_' and '-', the first", 2),
        ("--name", "", "a letter or a digit, not ''", 2),
        ("--content", "nowhere", "nowhere is no folder", 1),
        ("--architecture", "c3s1-3,x", "'x' is no layer", 2),
        ("--style-layers", "relu1_2:much", "expected layers and weights", 1),
        ("--style-layers", "relu1_2:nan", "weights are finite, none is below 0, and one is above", 1),
        ("--style-layers", "relu1_2:1,relu2_2:-1", "none is below 0", 1),
        ("--style-layers", "relu1_2:0", "one is above", 1),
        ("--loss-network", "nowhere", "takes torchvision or a safetensors file", 1),
        ("--device", "tpu", "--device: expected auto, cpu, cuda or cuda:N, not 'tpu'", 2),
        ("--clip", "inf", "--clip: Input should be a finite number", 2),
        ("--seed", str(2**64), "--seed: Input should be less than 18446744073709551616", 2),
        ("--warm-start", "wave@abc", "expected NAME or NAME@VERSION", 1),
        ("--run", "/dev/null/run", "Not a directory", 1),
        ("--run", "", "--run: a name is empty; this folder is written .", 2),
        ("--content", "", "--content: a name is empty; this folder is written .", 2),
        ("--loss-network", "", "an empty name: Is a directory; --loss-network takes", 1),
        ("--style-image", "/dev/zero", "/dev/zero is no file; an image file is wanted", 1),
        ("--threads", "100000000", "--threads: Input should be less than or equal to 1024", 2),
        ("--log-every", "9" * 20, "--log-every: Input should be less than or equal to 1000000000", 2),
        ("--image-size", "100000000", "there is not enough memory; smaller images need less", 1),
    ],
)
def test_mistakes_are_explained_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], option: str, value: str, complaint: str, status: int
) -> None:
    assert main(style_arguments(tmp_path, option, value)) == status
    error = capsys.readouterr().err
    assert complaint in error
    assert "Traceback" not in error


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_missing_gpu_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(style_arguments(tmp_path, "--device", "cuda")) == 1
    assert "torch finds no GPU here" in capsys.readouterr().err


def test_the_largest_seed_is_a_seed(tmp_path: Path) -> None:
    assert main(style_arguments(tmp_path, "--seed", str(2**64 - 1))) == 0


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_command_says_how_to_go_on(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    number: signal.Signals,
    status: int,
) -> None:
    clip = torch.nn.utils.clip_grad_norm_

    def interrupting(parameters: Iterable[torch.Tensor], max_norm: float) -> torch.Tensor:
        os.kill(os.getpid(), number)
        return clip(parameters, max_norm)

    monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", interrupting)
    assert main(style_arguments(tmp_path)) == status
    captured = capsys.readouterr()
    assert "interrupted at step 1; the same command with --resume goes on from there" in captured.err
    assert captured.out == ""


def test_a_wrong_command_line_exits_with_2(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["style", "--name", "wave"])
    assert "the following arguments are required: --content" in capsys.readouterr().err
