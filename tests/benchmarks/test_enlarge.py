from argparse import ArgumentParser, Namespace
from pathlib import Path

import numpy as np
import pytest

from benchmarks import enlarge
from tests.benchmarks.test_lpips import lpips_file
from tests.trainer.samples import photographs, published, teacher_file, upscale_config


def test_every_method_is_scored_on_clean_and_on_damaged_photographs(tmp_path: Path) -> None:
    published(upscale_config(tmp_path, steps=1))
    folder = photographs(tmp_path / "held-out", 3, width=90, height=80)
    parser = ArgumentParser()
    enlarge.add_options(parser)
    arguments = f"--images {folder} --every 2 --models x2 --store {tmp_path / 'models'} --pictures {tmp_path / 'out'}"
    files = f"--teacher {teacher_file(tmp_path / 't.safetensors')} --lpips {lpips_file(tmp_path / 'l.safetensors')}"
    tables = enlarge.run(parser.parse_args([*arguments.split(), *files.split()], Namespace(quick=False)))
    assert [row["method"] for row in tables["Clean"]] == ["bicubic", "x2@1", "t"]
    better, worse = (float(str(tables[title][0]["PSNR-Y"])) for title in ("Clean", "Damaged"))
    assert better > worse
    assert set(tables["Damaged"][1]) == {"method", "PSNR-Y", "SSIM", "LPIPS"}
    assert len([*(tmp_path / "out").iterdir()]) == 2 * 2 * 3
    verdicts = {row["file"]: row for row in tables["What model=auto finds"]}
    assert verdicts["clean, PNG"]["clean"] == 2
    assert verdicts["damaged, JPEG of quality 60"]["compressed"] == 2


def test_the_damage_is_that_of_its_generator() -> None:
    sharp = np.random.default_rng(0).integers(0, 256, (64, 48, 3), dtype=np.uint8)
    one, same, other = (enlarge.damaged(sharp, 4, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert one.shape == (16, 12, 3)
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)


def test_a_network_is_needed(capsys: pytest.CaptureFixture[str]) -> None:
    parser = ArgumentParser()
    enlarge.add_options(parser)
    with pytest.raises(SystemExit):
        parser.parse_args(["--models"])
    assert "--models: expected at least one argument" in capsys.readouterr().err
