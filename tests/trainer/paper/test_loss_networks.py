import csv
from pathlib import Path

import pytest

from tests.trainer.samples import loss_network_file, photograph, photographs
from trainer.__main__ import main


def command(folder: Path, *networks: str, out: str = "out") -> list[str]:
    options = {
        "content": photographs(folder / "photos", 2),
        "style-image": photograph(folder / "painting.png", 64, 64, seed=99),
        "image-size": 32,
        "photographs": 2,
        "steps": 8,
        "device": "cpu",
        "out": folder / out,
    }
    flags = [part for name, value in options.items() for part in (f"--{name}", str(value))]
    return ["paper", "loss-networks", "--loss-networks", *networks, *flags]


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_each_objective_is_lowest_for_the_images_that_minimise_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = [str(loss_network_file(tmp_path / f"{width}.safetensors", width)) for width in (4, 9)]
    assert main(command(tmp_path, *files)) == 0
    judged = {row.pop("made by"): row for row in rows(tmp_path / "out/loss-networks-judged.csv")}
    assert set(judged) == {"photograph", "vgg19-distilled", "vgg19-distilled (9)"}
    assert set(judged["photograph"].values()) == {"100.0"}
    for judge in ("vgg19-distilled", "vgg19-distilled (9)"):
        found = {made_by: float(row[judge]) for made_by, row in judged.items()}
        assert min(found, key=found.__getitem__) == judge
    assert "sha256:" in capsys.readouterr().out
    assert str(tmp_path) not in (tmp_path / "out/loss-networks.md").read_text()


def test_our_terms_have_one_scale_where_the_raw_ones_have_not(tmp_path: Path) -> None:
    file = str(loss_network_file(tmp_path / "loss.safetensors", 16))
    assert main([*command(tmp_path, file, "random"), "--steps", "1"]) == 0
    scales = rows(tmp_path / "out/loss-networks-scale.csv")
    assert [row["loss network"] for row in scales] == ["vgg19-distilled", "vgg16 (random)"]
    raw, ours = ([float(row[f"{kind} style, noise"]) for row in scales] for kind in ("raw", "our"))
    assert max(raw) > 100 * min(raw)
    assert max(ours) < 10 * min(ours)
    assert all(float(row["our content, photograph"]) == 0 for row in scales)
    assert all(float(row["GFLOP an evaluation"]) > 0 for row in scales)


def test_the_figures_are_the_same_on_a_second_run(tmp_path: Path) -> None:
    files = [str(loss_network_file(tmp_path / f"{width}.safetensors", width)) for width in (4, 9)]
    for out in ("one", "two"):
        assert main(command(tmp_path, *files, out=out)) == 0
    written = [path for path in (tmp_path / "one").iterdir() if path.is_file()]
    assert len(written) == 4
    assert all((tmp_path / "two" / path.name).read_bytes() == path.read_bytes() for path in written)


def test_photographs_and_loss_networks_of_equal_names_are_told_apart(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = [loss_network_file(tmp_path / f"{width}/loss.safetensors", width) for width in (4, 6, 9)]
    photograph(tmp_path / "nested/a/1.png", seed=1)
    photograph(tmp_path / "nested/b/1.png", seed=2)
    arguments = [*command(tmp_path, *map(str, files)), "--content", str(tmp_path / "nested"), "--steps", "1"]
    assert main(arguments) == 0
    networks = {row["loss network"] for row in rows(tmp_path / "out/loss-networks-scale.csv")}
    assert networks == {"vgg19-distilled", "vgg19-distilled (loss)", "vgg19-distilled (loss, 2)"}
    assert len([*(tmp_path / "out/runs").iterdir()]) == 6
    capsys.readouterr()
    assert main(arguments) == 1
    assert "pass --resume to go on with it, or another --out" in capsys.readouterr().err
    assert main([*arguments, "--resume"]) == 0


def test_one_loss_network_cannot_be_compared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(command(tmp_path, "random")) == 1
    assert "--loss-networks takes two or more" in capsys.readouterr().err
