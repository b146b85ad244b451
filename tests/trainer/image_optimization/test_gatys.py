import csv
from itertools import pairwise
from pathlib import Path

import pytest

from tests.trainer.samples import loss_network_file, photograph
from trainer.__main__ import main
from trainer.data import read_rgb
from trainer.run_folder import Run


def command(folder: Path, *more: str, run: str = "run") -> list[str]:
    options = {
        "content": photograph(folder / "photo.png"),
        "style-image": photograph(folder / "painting.png", 64, 64, seed=99),
        "loss-network": loss_network_file(folder / "loss.safetensors"),
        "run": folder / run,
        "image-size": 40,
        "steps": 12,
        "save-every": 4,
        "device": "cpu",
    }
    return ["optimize", *(part for name, value in options.items() for part in (f"--{name}", str(value))), *more]


def rows(run: Path) -> list[dict[str, str]]:
    with (run / "objective.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("begin", ["noise", "content"])
@pytest.mark.parametrize("centred", ["true", "false"])
def test_one_command_paints_a_photograph(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], begin: str, centred: str
) -> None:
    assert main(command(tmp_path, "--begin", begin, "--centred", centred)) == 0
    assert "run/result.png" in capsys.readouterr().out
    found = rows(tmp_path / "run")
    objective = [float(row["objective"]) for row in found]
    assert [int(row["step"]) for row in found] == list(range(13))
    assert all(later < earlier for earlier, later in pairwise(objective))
    assert int(found[-1]["evaluations"]) >= 13
    terms = [name for name in found[0] if name not in ("step", "evaluations", "objective")]
    assert sum(float(found[-1][name]) for name in terms) == pytest.approx(objective[-1])
    assert {"content", "style_relu1_2", "tv"} <= set(terms)
    assert read_rgb(tmp_path / "run/result.png").shape == (32, 40, 3)


@pytest.mark.parametrize("method", ["lbfgs", "clipped-lbfgs", "adam"])
def test_a_resumed_run_equals_an_uninterrupted_one_and_so_does_a_second(tmp_path: Path, method: str) -> None:
    assert main(command(tmp_path, "--method", method, run="whole")) == 0
    assert main(command(tmp_path, "--method", method, run="again")) == 0
    assert main(command(tmp_path, "--method", method, "--steps", "5", run="parts")) == 0
    assert main(command(tmp_path, "--method", method, "--resume", run="parts")) == 0
    for file in ("objective.csv", "result.png"):
        expected = (tmp_path / "whole" / file).read_bytes()
        assert (tmp_path / "again" / file).read_bytes() == expected
        assert (tmp_path / "parts" / file).read_bytes() == expected


def test_another_seed_is_another_image(tmp_path: Path) -> None:
    main(command(tmp_path, run="one"))
    main(command(tmp_path, "--seed", "1", run="other"))
    assert (tmp_path / "one/result.png").read_bytes() != (tmp_path / "other/result.png").read_bytes()


def test_metrics_without_a_state_are_written_again(tmp_path: Path) -> None:
    main(command(tmp_path, run="whole"))
    left = tmp_path / "run"
    left.mkdir()
    (left / "metrics.jsonl").write_text('{"step": 0, "objective": 1}\n{"step": 1, "obj')
    main(command(tmp_path))
    assert (left / "objective.csv").read_text() == (tmp_path / "whole/objective.csv").read_text()


@pytest.mark.parametrize(
    ("option", "value", "complaint", "status"),
    [
        ("--content", "nowhere.png", "nowhere.png cannot be read", 1),
        ("--style-image", "nowhere.png", "nowhere.png cannot be read", 1),
        ("--method", "sgd", "--method: Input should be 'lbfgs', 'clipped-lbfgs' or 'adam'", 2),
        ("--begin", "grey", "--begin: Input should be 'noise' or 'content'", 2),
        ("--steps", "0", "--steps: Input should be greater than or equal to 1", 2),
        ("--style-layers", "relu1_2:much", "expected layers and weights", 1),
        ("--content-layer", "relu9_9", "has no layer 'relu9_9'; it has: relu1_1", 1),
    ],
)
def test_mistakes_are_explained_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], option: str, value: str, complaint: str, status: int
) -> None:
    assert main(command(tmp_path, option, value)) == status
    error = capsys.readouterr().err
    assert complaint in error
    assert "Traceback" not in error


def test_two_processes_do_not_paint_into_one_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Run(tmp_path / "run").exclusive():
        assert main(command(tmp_path)) == 1
        assert "run is under way; use another --run" in capsys.readouterr().err
    assert main(command(tmp_path)) == 0


def test_a_finished_run_is_not_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(command(tmp_path)) == 0
    assert main(command(tmp_path)) == 1
    assert "holds a run already; pass --resume" in capsys.readouterr().err
    assert main(command(tmp_path, "--tv-weight", "2", "--resume")) == 1
    assert "tv_weight was 0.5, now 2.0" in capsys.readouterr().err
