from argparse import ArgumentParser, Namespace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks import gallery
from benchmarks.errors import BenchmarkError
from tests.trainer.samples import photographs, published, style_config
from trainer.data import read_rgb


def chosen(*arguments: str) -> Namespace:
    parser = ArgumentParser()
    gallery.add_options(parser)
    return parser.parse_args([*arguments], Namespace(quick=False))


def test_sheets_of_photographs_of_a_style_and_of_enlargements_are_written(tmp_path: Path) -> None:
    published(style_config(tmp_path, steps=1))
    folder = photographs(tmp_path / "photos", 5, width=96, height=80)
    arguments = (
        f"--photos {folder} --enlarged 1 --side 64 --out {tmp_path / 'out'} --store {tmp_path / 'models'} --styles wave"
    )
    tables = gallery.run(chosen(*arguments.split()))
    sizes = {path.stem: read_rgb(path).shape for path in (tmp_path / "out").iterdir()}
    assert sizes["photographs"] == sizes["wave"] == (2 * 32, 4 * 32, 3)
    assert sizes["clean"] == sizes["damaged"] == (32, 4 * 32, 3)
    clean, damaged = tables["Enlarged four times, clean"], tables["Enlarged four times, damaged"]
    assert [row["method"] for row in clean] == ["bicubic", "x4", "x4-perceptual"]
    assert [row["method"] for row in damaged] == ["bicubic", "x4", "x4-photo"]
    assert float(str(clean[0]["PSNR-Y"])) > float(str(damaged[0]["PSNR-Y"]))


def test_no_photograph_needs_to_be_enlarged(tmp_path: Path) -> None:
    published(style_config(tmp_path, steps=1))
    folder = photographs(tmp_path / "photos", 1, width=96, height=80)
    arguments = (
        f"--photos {folder} --enlarged 0 --side 64 --out {tmp_path / 'out'} --store {tmp_path / 'models'} --styles wave"
    )
    assert gallery.run(chosen(*arguments.split())) == {}
    assert {path.stem for path in (tmp_path / "out").iterdir()} == {"photographs", "wave"}


def test_the_photographs_themselves_are_shown_as_they_are(tmp_path: Path) -> None:
    file = photographs(tmp_path, 1, width=64, height=64) / "0.png"
    sheet = gallery.painted_sheet([file], 64, lambda photograph: photograph)
    expected = Image.fromarray(read_rgb(file)).resize((32, 32), Image.Resampling.LANCZOS)
    assert np.array_equal(sheet[:, :32], np.asarray(expected))
    assert (sheet[:, 32:] == 255).all()


def test_photographs_are_needed() -> None:
    with pytest.raises(BenchmarkError, match="--photos: name a folder"):
        gallery.run(chosen())
