import csv
from collections.abc import Mapping
from pathlib import Path

import pytest
from torch import Tensor

from tests.trainer.samples import loss_network_file
from trainer.__main__ import main
from trainer.hardware import Hardware
from trainer.loss_network import load_loss_network
from trainer.objective import ImageObjective
from trainer.paper import speed


def test_table_1_is_one_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    loss = str(loss_network_file(tmp_path / "loss.safetensors"))
    command = ["paper", "speed", "--sizes", "256", "40", "--rounds", "1", "--iterations", "1", "--loss-network", loss]
    assert main([*command, "--out", str(tmp_path / "out"), "--device", "cpu"]) == 0
    markdown = capsys.readouterr().out
    with (tmp_path / "out/speed.csv").open(newline="") as file:
        found = {row["size"]: {name: float(row[name]) for name in row} for row in csv.DictReader(file)}
    assert all(value > 0 for row in found.values() for value in row.values())
    ratios = [round(count * found["256"]["optimisation"] / found["256"]["paper"]) for count in (100, 300, 500)]
    published = (212, 636, 1060)
    line = next(line for line in markdown.splitlines() if line.startswith("| 256 |") and "1060" in line)
    cells = [int(cell) for cell in line.strip("| ").split(" | ")]
    assert cells[1::3] == ratios
    assert cells[3::3] == list(published)
    assert "| 40 |" in markdown
    assert "1 turns of 1 iterations" in markdown
    assert (tmp_path / "out/speed.png").read_bytes().startswith(b"\x89PNG")
    assert str(tmp_path) not in (tmp_path / "out/speed.md").read_text()


def test_the_first_evaluation_is_not_measured(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """On a GPU it is some hundred times as long as the others, since libraries are loaded."""
    hardware = Hardware.of("cpu", "fp32")
    loss_network = load_loss_network(str(loss_network_file(tmp_path / "loss.safetensors")))
    evaluated, began = list[bool](), list[int]()
    terms = ImageObjective.__call__

    def counted(objective: ImageObjective, image: Tensor) -> Mapping[str, Tensor]:
        evaluated.append(True)
        return terms(objective, image)

    def timed(*arguments: object) -> float:
        began.append(len(evaluated))
        return 1.0

    monkeypatch.setattr(ImageObjective, "__call__", counted)
    monkeypatch.setattr(speed, "_time_evaluation", timed)
    monkeypatch.setattr(speed, "_time_pass", lambda *_: 1.0)
    config = speed.SpeedConfig(out=tmp_path / "out", rounds=1, iterations=1)
    speed.measured(config, 40, loss_network, hardware)
    assert began[0] > 0
