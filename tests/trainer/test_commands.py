import json
from pathlib import Path

import pytest
from PIL import Image

from model_store import SHIPPED_STORE, Draft, ModelStore, NetworkSpec, TransformNetwork, open_store
from tests.trainer.samples import photograph, photographs, style_arguments, teacher_file
from trainer.__main__ import main


def test_a_run_can_be_resumed_and_published_at_any_time(tmp_path: Path) -> None:
    assert main(style_arguments(tmp_path)) == 0
    assert main(style_arguments(tmp_path, "--steps", "5", "--resume")) == 0
    assert main(["publish", "--run", str(tmp_path / "run")]) == 0
    store = ModelStore(tmp_path / "models")
    assert store.versions("wave") == [1, 2, 3]
    assert store.manifest("wave").provenance.steps == 5


def test_a_finished_run_that_is_resumed_is_not_published_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(style_arguments(tmp_path)) == 0
    assert main(style_arguments(tmp_path, "--resume")) == 0
    assert "published as wave@1; `publish --run" in capsys.readouterr().out
    assert ModelStore(tmp_path / "models").versions("wave") == [1]
    (tmp_path / "run" / "state.pt").unlink()
    assert main(style_arguments(tmp_path)) == 0  # another run in the same folder
    assert ModelStore(tmp_path / "models").versions("wave") == [1, 2]


def test_a_finished_run_that_is_resumed_with_another_store_is_published_there_once(tmp_path: Path) -> None:
    assert main(style_arguments(tmp_path)) == 0
    for _ in range(2):
        assert main(style_arguments(tmp_path, "--resume", "--store", str(tmp_path / "others"))) == 0
    for store in ("models", "others"):
        assert ModelStore(tmp_path / store).versions("wave") == [1]


def test_a_run_without_a_state_is_not_published_and_no_option_of_another_command_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(style_arguments(tmp_path)) == 0
    (tmp_path / "run" / "state.pt").unlink()
    capsys.readouterr()
    assert main(["publish", "--run", str(tmp_path / "run")]) == 1
    told = capsys.readouterr().err
    assert "holds no saved state; its training saves one" in told
    assert "--" not in told


def test_super_resolution_is_the_other_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["super-resolution", "--name", "x2", "--scale", "2", "--content", str(photographs(tmp_path / "p"))]
    arguments += ["--architecture", "c3s1-12,p2", "--image-size", "16", "--steps", "2", "--device", "cpu"]
    assert main([*arguments, "--store", str(tmp_path / "models"), "--run", str(tmp_path / "run")]) == 0
    assert ModelStore(tmp_path / "models").manifest("x2").scale == 2
    assert "SSIM" in evaluated(tmp_path, capsys)


def evaluated(folder: Path, capsys: pytest.CaptureFixture[str]) -> str:
    command = ["evaluate", "--model", "x2@1", "--images", str(folder / "p"), "--store", str(folder / "models")]
    assert main(command) == 0
    return capsys.readouterr().out


def test_validation_goes_into_the_manifest(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    photos = photographs(tmp_path / "p")
    arguments = [
        "super-resolution",
        "--name",
        "x2",
        "--scale",
        "2",
        "--content",
        str(photos),
        "--validation",
        str(photos),
    ]
    arguments += ["--architecture", "c3s1-12,p2", "--image-size", "16", "--steps", "2", "--device", "cpu"]
    assert main([*arguments, "--store", str(tmp_path / "models"), "--run", str(tmp_path / "run")]) == 0
    metrics = ModelStore(tmp_path / "models").manifest("x2").provenance.metrics
    assert f"{metrics['psnr_p']:.2f} dB" in evaluated(tmp_path, capsys)


def test_publishing_needs_a_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["publish", "--run", str(tmp_path)]) == 1
    assert "holds no run" in capsys.readouterr().err
    (tmp_path / "file").touch()
    assert main(["publish", "--run", str(tmp_path / "file")]) == 1
    assert "holds no run; --run takes the folder of one" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["state.pt", "config.json"])
def test_a_damaged_run_is_an_error_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    assert main(style_arguments(tmp_path)) == 0
    (tmp_path / "run" / name).write_bytes(b"")
    capsys.readouterr()
    for arguments in (["publish", "--run", str(tmp_path / "run")], style_arguments(tmp_path, "--resume")):
        assert main(arguments) == 1
        assert f"error: {tmp_path}/run/{name} cannot be read: " in capsys.readouterr().err


def test_what_several_processes_cannot_do_is_refused_before_they_meet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert main(style_arguments(tmp_path, "--batch", "3")) == 1
    assert "--batch 3 cannot be divided among 2 processes" in capsys.readouterr().err
    arguments = ["super-resolution", "--name", "x2", "--scale", "2", "--content", str(tmp_path), "--teacher", "t"]
    assert main([*arguments, "--degradation", "photo", "--answers", str(tmp_path), "--device", "cpu"]) == 1
    assert "compute them by `pastiche-train answers`" in capsys.readouterr().err


def test_validation_images_are_checked_before_training(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["super-resolution", "--name", "x2", "--scale", "2", "--content", str(photographs(tmp_path / "p"))]
    assert main([*arguments, "--validation", str(tmp_path / "none")]) == 1
    assert "--validation takes a folder of images" in capsys.readouterr().err
    photograph(tmp_path / "small/a.png", 16, 40)
    assert main([*arguments, "--validation", str(tmp_path / "small")]) == 1
    assert "a.png is 16×40; --validation takes images of 17×17 pixels or more" in capsys.readouterr().err


def test_shipped_networks_can_be_evaluated(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "models").mkdir()
    command = ["evaluate", "--images", str(photographs(tmp_path / "p", count=1)), "--store", str(tmp_path / "models")]
    assert main([*command, "--model", "x4"]) == 0
    assert "x4@" in capsys.readouterr().out
    assert main([*command, "--model", "x5"]) == 1
    assert "no model 'x5'" in capsys.readouterr().err
    assert main([*command, "--model", "great-wave"]) == 1
    assert "--model great-wave does not enlarge" in capsys.readouterr().err


def test_a_network_is_evaluated_from_where_it_was_published_also_at_a_url(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))  # of the cache
    store = f"file://{tmp_path}/site"
    spec = NetworkSpec(architecture="c3s1-48,p4", norm="none")
    open_store(store).publish(TransformNetwork(spec), Draft(name="x4", task="super-resolution"))
    command = ["evaluate", "--images", str(photographs(tmp_path / "p", count=1)), "--store", store, "--model", "x4"]
    assert main(command) == 0
    assert capsys.readouterr().out.startswith("x4@1 ")  # the shipped one has another version
    assert ModelStore(SHIPPED_STORE).current("x4") != 1


def test_style_networks_can_be_judged(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(style_arguments(tmp_path)) == 0
    capsys.readouterr()
    command = ["judge", "--models", "wave", "wave@1", "--store", str(tmp_path / "models"), "--sizes", "48", "96"]
    command += ["--images", str(photographs(tmp_path / "judged", count=2))]
    command += ["--style-image", str(tmp_path / "painting.png"), "--loss-network", str(tmp_path / "loss.safetensors")]
    assert main(command) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in lines] == [["wave@1", "48"], ["wave@1", "96"]] * 2
    assert all("total" in line and "content" in line for line in lines)
    assert lines[0] != lines[1]
    assert ["texture" in line for line in lines[:2]] == [False, True]
    assert main([*command, "--content-layer", "relu1_2"]) == 0
    assert capsys.readouterr().out.splitlines() != lines
    assert main([*command, "--images", str(tmp_path / "none")]) == 1
    assert "--images takes a folder of images" in capsys.readouterr().err


def test_a_run_is_published_from_where_it_was_moved_to(tmp_path: Path) -> None:
    assert main(style_arguments(tmp_path)) == 0
    (tmp_path / "run").rename(tmp_path / "moved")
    assert main(["publish", "--run", str(tmp_path / "moved")]) == 0
    assert ModelStore(tmp_path / "models").versions("wave") == [1, 2]


def test_a_run_that_was_begun_before_an_option_existed_is_published(tmp_path: Path) -> None:
    assert main(style_arguments(tmp_path)) == 0
    file = tmp_path / "run/config.json"
    options = json.loads(file.read_text())
    assert "resume" not in options
    del options["teacher_weight"]
    file.write_text(json.dumps(options))
    assert main(["publish", "--run", str(tmp_path / "run")]) == 0


def test_degradation_is_shown_on_a_sheet(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["degrade", "--content", str(photographs(tmp_path / "p")), "--preview", str(tmp_path / "sheet.png")]
    assert main([*arguments, "--image-size", "32", "--count", "3"]) == 0
    assert "3 photographs" in capsys.readouterr().out
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.size == (128, 64)
    assert main([*arguments, "--image-size", "30"]) == 1


@pytest.mark.parametrize(
    "command",
    [
        "degrade --content nowhere --preview {file}/sheet.png",
        "answers --content nowhere --teacher t.safetensors --answers {file}",
        "paper speed --out {file} --loss-network nowhere",
        "paper objective --out {file} --style-image nowhere --content nowhere --model wave",
        "paper super-resolution --out {file} --sets nowhere",
        "paper loss-networks --out {file} --style-image nowhere --content nowhere --loss-networks random",
    ],
)
def test_what_cannot_be_written_is_found_before_anything_is_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    (tmp_path / "file").touch()
    assert main(command.format(file=tmp_path / "file").split()) == 1
    assert f"{tmp_path / 'file'}" in (told := capsys.readouterr().err)
    assert told.endswith("cannot be written: Not a directory\n")


def test_answers_of_a_teacher_can_be_computed_beforehand(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    teacher = teacher_file(tmp_path / "teacher.safetensors")
    arguments = ["answers", "--content", str(photographs(tmp_path / "p")), "--teacher", str(teacher), "--scale", "2"]
    arguments += ["--answers", str(tmp_path / "answers"), "--answer-side", "16", "--answer-count", "2"]
    assert main([*arguments, "--device", "cpu"]) == 0
    assert "2 answers computed" in capsys.readouterr().out
    assert main([*arguments, "--device", "cpu"]) == 0
    assert "0 answers computed" in capsys.readouterr().out


def test_a_restorer_without_a_teacher_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["super-resolution", "--name", "x2", "--scale", "2", "--content", str(photographs(tmp_path / "p"))]
    arguments += ["--degradation", "photo", "--teacher-restorer", str(tmp_path / "small.safetensors")]
    assert main([*arguments, "--answers", str(tmp_path / "answers")]) == 2
    assert "--teacher-restorer restores what a --teacher sees: name one" in capsys.readouterr().err


def test_images_and_networks_are_looked_for_before_the_loss_network(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Which may be a long download."""
    there, painting = str(photographs(tmp_path / "photos", count=1)), str(tmp_path / "photos" / "0.png")
    none, models = str(tmp_path / "none"), ["--models", "great-wave"]
    missing = {
        ("judge", *models, "--images", none, "--style-image", painting): "none",
        ("judge", *models, "--images", there, "--style-image", none): "none",
        ("judge", "--models", "nobody", "--images", there, "--style-image", painting): "nobody",
        ("optimize", "--content", none, "--style-image", painting): "none",
        ("optimize", "--content", painting, "--style-image", none): "none",
        ("invert", "--style-image", none): "none",
    }
    for command, named in missing.items():
        assert main([*command, "--loss-network", str(tmp_path / "loss.safetensors")]) == 1
        told = capsys.readouterr().err
        assert named in told
        assert "loss.safetensors" not in told


def test_all_photographs_are_read_before_networks_are_judged(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = photographs(tmp_path / "photos", count=2)
    command = ["judge", "--models", "great-wave", "--images", str(folder), "--style-image", str(folder / "0.png")]
    (folder / "1.png").write_bytes((folder / "0.png").read_bytes()[:80])
    assert main([*command, "--loss-network", "none"]) == 1
    assert "1.png cannot be read" in capsys.readouterr().err
    assert main([*command, "--sizes", "64", "0"]) == 2
    assert "--sizes.1: Input should be greater than or equal to 16" in capsys.readouterr().err


def test_a_tilde_is_the_home_folder_also_after_an_equals_sign(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    photographs(tmp_path / "photos", count=1)
    assert main(["degrade", "--content=~/photos", "--preview=~/out/sheet.png", "--count=1", "--image-size=32"]) == 0
    assert (tmp_path / "out" / "sheet.png").is_file()
    assert main(["evaluate", "--model=x4", "--images=~/photos", "--store=~/models"]) == 2
    assert f"{tmp_path}/models is no folder" in capsys.readouterr().err
