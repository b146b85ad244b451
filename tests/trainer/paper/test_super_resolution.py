import csv
import os
from pathlib import Path

import pytest

from model_store import SHIPPED_STORE, ModelStore
from tests.trainer.samples import photograph, photographs
from trainer.__main__ import main
from trainer.evaluate import bicubic, evaluate
from trainer.paper.super_resolution import mean_score, protocol_note

SHIPPED = f"x4@{ModelStore(SHIPPED_STORE).current('x4')}"


def command(folder: Path, *more: str) -> list[str]:
    sets = [str(photographs(folder / name, 2, 72, 64)) for name in ("Set5", "mine")]
    (folder / "models").mkdir(exist_ok=True)
    options = ["--out", str(folder / "out"), "--store", str(folder / "models"), "--device", "cpu"]
    return ["paper", "super-resolution", "--sets", *sets, *options, *more]


def test_figures_8_and_9_are_one_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(command(tmp_path)) == 0
    markdown = capsys.readouterr().out
    with (tmp_path / "out/super-resolution.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {(row["scale"], row["method"]) for row in rows} == {("4", "bicubic"), ("4", SHIPPED), ("8", "bicubic")}
    ours = [float(row["psnr"]) for row in rows if (row["scale"], row["method"], row["set"]) == ("8", "bicubic", "mine")]
    assert len(ours) == 2
    expected = evaluate(bicubic(8), tmp_path / "mine", 8)["psnr"]
    assert sum(ours) / 2 == pytest.approx(expected)
    assert f"| bicubic | {mean_of(rows, '8', 'Set5')} | {expected:.2f} /" in markdown
    assert "| paper: SRCNN | 30.48 / 0.8628 (+2.05) | – |" in markdown  # the paper has no scores for `mine`
    assert "where 28.43 and 0.8113 are expected" in markdown
    assert "Suspected typo" in markdown
    for scale in (4, 8):
        assert (tmp_path / f"out/super-resolution-x{scale}.png").exists()


def test_images_of_equal_names_have_scores_of_their_own(tmp_path: Path) -> None:
    for seed, folder in enumerate(("a", "b")):
        photograph(tmp_path / "nested" / folder / "1.png", 72, 64, seed)
    assert main(command(tmp_path, "--sets", str(tmp_path / "nested"), "--scales", "4")) == 0
    with (tmp_path / "out/super-resolution.csv").open(newline="") as file:
        scored = {row["image"]: float(row["psnr"]) for row in csv.DictReader(file) if row["method"] == "bicubic"}
    assert set(scored) == {"a/1", "b/1"}
    expected = evaluate(bicubic(4), tmp_path / "nested", 4)["psnr"]
    assert sum(scored.values()) / 2 == pytest.approx(expected)


def test_sets_of_equal_names_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sets = [str(photographs(tmp_path / parent / "val", 1, 72, 64)) for parent in "ab"]
    assert main(command(tmp_path, "--sets", *sets)) == 2
    assert "--sets has several folders named val" in capsys.readouterr().err


def mean_of(rows: list[dict[str, str]], scale: str, of: str) -> str:
    found = {
        row["image"]: (float(row["psnr"]), float(row["ssim"]))
        for row in rows
        if (row["scale"], row["method"], row["set"]) == (scale, "bicubic", of)
    }
    psnr, ssim = mean_score(found)
    return f"{psnr:.2f} / {ssim:.4f}"


def test_the_protocol_note_compares_bicubic_with_its_known_scores() -> None:
    said = protocol_note({4: {"bicubic": {"Set5": {"a": (28.4, 0.8112), "b": (28.46, 0.8114)}}}})
    assert said == "Bicubic enlargement of Set5 ×4 has 28.43 dB and SSIM 0.8113, as it should."
    assert "nothing to anchor" in protocol_note({8: {"bicubic": {"Set5": {"a": (24.0, 0.6)}}}})


@pytest.mark.skipif("PASTICHE_SET5" not in os.environ, reason="PASTICHE_SET5 names no folder with Set5")
def test_bicubic_enlargement_of_set5_has_28_43_db() -> None:
    scores = evaluate(bicubic(4), Path(os.environ["PASTICHE_SET5"]), 4)
    assert (round(scores["psnr"], 2), round(scores["ssim"], 4)) == (28.43, 0.8113)


def test_the_figures_are_the_same_on_a_second_run(tmp_path: Path) -> None:
    for out in ("one", "two"):
        assert main(command(tmp_path, "--out", str(tmp_path / out), "--scales", "4")) == 0
    files = sorted(path.name for path in (tmp_path / "one").iterdir())
    assert files == ["super-resolution-x4.png", "super-resolution.csv", "super-resolution.md"]
    assert all((tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes() for name in files)


def test_mistakes_are_explained(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(command(tmp_path, "--models", "x5")) == 1
    assert "no model 'x5'" in capsys.readouterr().err
    assert main(command(tmp_path, "--scales", "8")) == 1
    assert "x4 enlarges ×4, which --scales does not have" in capsys.readouterr().err
    assert main(command(tmp_path, "--models", "great-wave")) == 1
    assert "--models great-wave does not enlarge" in capsys.readouterr().err
    assert main(command(tmp_path, "--scales", "1")) == 2
    assert "greater than or equal to 2" in capsys.readouterr().err
    assert main(command(tmp_path, "--sets", str(tmp_path / "none"))) == 1
    assert "none is no folder; --sets takes a folder of images" in capsys.readouterr().err
