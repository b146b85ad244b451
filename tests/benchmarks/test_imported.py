from argparse import ArgumentParser, Namespace
from pathlib import Path

import pytest

from benchmarks import imported, photos
from tests.foreign import compact_file


def options(*given: str) -> Namespace:
    parser = ArgumentParser()
    parser.add_argument("--quick", action="store_true")
    imported.add_options(parser)
    return parser.parse_args(given)


def test_both_programs_give_the_same_picture(tmp_path: Path) -> None:
    chosen = options("--files", str(compact_file(tmp_path)), "--sizes", "33x24", "19x40", "--rounds", "1")
    rows = imported.run(chosen)["imported networks"]
    assert [row["size"] for row in rows] == ["33x24", "19x40"]
    for row in rows:
        assert str(row["network"]).startswith("Compact ×2, ")
        assert int(row["largest difference, levels"] or 0) <= 1
        assert float(row["share of its time"] or 0) > 0


def test_photographs_have_the_width_before_the_height(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = photos.photo
    shapes = []

    def photo(width: int, height: int, seed: int = 0) -> photos.Pixels:
        shapes.append(made(width, height, seed).shape)
        return made(width, height, seed)

    monkeypatch.setattr(photos, "photo", photo)
    imported.run(options("--files", str(compact_file(tmp_path)), "--sizes", "33x24", "--rounds", "1"))
    assert shapes == [(24, 33, 3)]


def test_networks_with_random_weights_are_measured_where_no_file_is_given() -> None:
    (row,) = imported.run(options("--quick"))["imported networks"]
    assert (row["network"], row["size"]) == ("Compact ×2, 2,292 parameters", "33x24")
