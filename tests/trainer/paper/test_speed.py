import csv
from pathlib import Path

import pytest

from tests.trainer.samples import loss_network_file
from trainer.__main__ import main


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
