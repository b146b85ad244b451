from pathlib import Path

import pytest
import torch

from tests.trainer.samples import loss_network_file, photograph
from trainer.__main__ import main
from trainer.data import read_rgb
from trainer.pictures import GAP, LABEL_HEIGHT


def command(folder: Path, *more: str) -> list[str]:
    options = {
        "loss-network": loss_network_file(folder / "loss.safetensors", width=12),
        "run": folder / "run",
        "image-size": 48,
        "steps": 60,
        "device": "cpu",
    }
    return ["invert", *(part for name, value in options.items() for part in (f"--{name}", str(value))), *more]


def parts(picture: Path, width: int, count: int) -> list[torch.Tensor]:
    """Cut a row into its pictures, (H, W, 3) in [0, 1]."""
    row = torch.from_numpy(read_rgb(picture).copy()).float() / 255
    assert row.shape[1] == count * width + (count - 1) * GAP
    return [row[LABEL_HEIGHT:, i * (width + GAP) : i * (width + GAP) + width] for i in range(count)]


def test_shallow_layers_keep_more_of_a_photograph_than_deep_ones(tmp_path: Path) -> None:
    photo = photograph(tmp_path / "photo.png")
    options = ["--content", str(photo), "--layers", "relu1_1", "relu5_1", "--tv-weight", "0.01"]
    assert main(command(tmp_path, *options)) == 0
    original, shallow, deep = parts(tmp_path / "run/content.png", 48, 3)
    errors = [(found - original).square().mean().item() for found in (shallow, deep)]
    assert errors[0] < 0.003 < 0.5 * errors[1]


def test_the_layers_are_the_papers_where_the_network_has_them(tmp_path: Path) -> None:
    painting = photograph(tmp_path / "painting.png")
    assert main(command(tmp_path, "--style-image", str(painting), "--steps", "2")) == 0
    assert len(parts(tmp_path / "run/style.png", 48, 5)) == 5
    assert {path.name for path in (tmp_path / "run/style").iterdir()} == {"relu1_2", "relu2_2", "relu3_3", "relu4_3"}
    assert not (tmp_path / "run/content.png").exists()


def test_a_resumed_row_is_the_same_as_an_uninterrupted_one(tmp_path: Path) -> None:
    given = ["--content", str(photograph(tmp_path / "photo.png")), "--layers", "relu1_1", "relu2_2"]
    assert main(command(tmp_path, *given, "--steps", "6", "--run", str(tmp_path / "whole"))) == 0
    assert main(command(tmp_path, *given[:3], "relu1_1", "--steps", "3")) == 0
    assert main(command(tmp_path, *given[:3], "relu1_1", "--steps", "6", "--resume")) == 0
    once = (tmp_path / "run/content/relu1_1/objective.csv").read_bytes()
    assert (tmp_path / "whole/content/relu1_1/objective.csv").read_bytes() == once


def test_an_image_is_needed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(command(tmp_path)) == 1
    assert "--content takes a photograph, --style-image a painting" in capsys.readouterr().err
