import csv
from pathlib import Path

import pytest

from tests.trainer.samples import photograph, photographs, published, style_config
from trainer.__main__ import main
from trainer.paper.curves import equivalent_iterations


def command(folder: Path, *more: str, out: str = "out") -> list[str]:
    if not (folder / "models").exists():
        published(style_config(folder, style_size=48))
    options = {
        "model": "wave",
        "style-image": folder / "painting.png",
        "content": photographs(folder / "held-out", 3),
        "store": folder / "models",
        "loss-network": folder / "loss.safetensors",
        "steps": 6,
        "device": "cpu",
        "out": folder / out,
    }
    flags = [part for name, value in options.items() for part in (f"--{name}", str(value))]
    return ["paper", "objective", *flags, "--sizes", "32", "48", "--photographs", "2", "1", *more]


def test_equivalent_iterations_are_the_first_with_an_objective_no_higher() -> None:
    assert equivalent_iterations([5.0, 3.0, 2.0, 1.0], 2.5) == 2
    assert equivalent_iterations([5.0, 3.0], 5.0) == 0
    assert equivalent_iterations([5.0, 3.0], 1.0) is None


def test_figure_5_is_one_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(command(tmp_path)) == 0
    markdown = capsys.readouterr().out
    with (tmp_path / "out/objective-wave-curves.csv").open(newline="") as file:
        points = list(csv.DictReader(file))
    assert len(points) == 3 * 7  # three curves of iterations 0 to 6
    for size, name in (("32", "0"), ("32", "1"), ("48", "0")):
        curve = [float(row["objective"]) for row in points if (row["size"], row["photograph"]) == (size, name)]
        assert curve == sorted(curve, reverse=True)
    with (tmp_path / "out/objective-wave.csv").open(newline="") as file:
        assert [(row["size"], row["photograph"]) for row in csv.DictReader(file)] == [
            ("32", "0"), ("32", "1"), ("48", "0"),
        ]  # fmt: skip
    assert "50 to 100" in markdown
    assert (tmp_path / "out/objective-wave.png").read_bytes().startswith(b"\x89PNG")
    assert str(tmp_path) not in (tmp_path / "out/objective-wave.md").read_text()
    assert not list((tmp_path / "out").rglob("state.pt"))


def test_a_second_run_and_a_resumed_one_give_the_same_figures(tmp_path: Path) -> None:
    assert main(command(tmp_path)) == 0
    assert main(command(tmp_path, out="again")) == 0
    files = [path for path in (tmp_path / "out").iterdir() if path.is_file()]
    assert len(files) == 4
    assert all((tmp_path / "again" / path.name).read_bytes() == path.read_bytes() for path in files)
    finished = sorted((tmp_path / "again").rglob("objective.csv"))
    before = [path.stat().st_mtime_ns for path in finished]
    finished[0].unlink()  # only this one is to be computed again
    assert main(command(tmp_path, "--resume", out="again")) == 0
    assert [path.stat().st_mtime_ns for path in finished[1:]] == before[1:]
    assert all((tmp_path / "again" / path.name).read_bytes() == path.read_bytes() for path in files)


def test_another_objective_than_that_of_the_training_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = str(photograph(tmp_path / "other.png", 64, 64, seed=1))
    assert main(command(tmp_path, "--style-image", other)) == 1
    assert "was trained on another painting" in capsys.readouterr().err
    assert main(command(tmp_path, "--loss-network", "random")) == 1
    assert "was trained with another loss network: vgg19-distilled, sha256:" in capsys.readouterr().err
    assert main(command(tmp_path, "--model", "x4")) == 1
    assert "is no style network with a recipe" in capsys.readouterr().err
    assert main(command(tmp_path, "--photographs", "1", "2", "3")) == 2
    assert "--photographs takes one number, or one for each of --sizes" in capsys.readouterr().err


def test_photographs_of_equal_names_are_told_apart(tmp_path: Path) -> None:
    arguments = command(tmp_path, "--sizes", "32", "--photographs", "2", "--steps", "1")
    for seed, folder in enumerate(("a", "b")):
        photograph(tmp_path / "nested" / folder / "1.png", seed=seed)
    assert main([*arguments, "--content", str(tmp_path / "nested")]) == 0
    with (tmp_path / "out/objective-wave.csv").open(newline="") as file:
        assert [row["photograph"] for row in csv.DictReader(file)] == ["a/1", "b/1"]
