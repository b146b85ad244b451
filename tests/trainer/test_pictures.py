from pathlib import Path

import pytest
import torch
from PIL import Image

from tests.trainer.samples import photograph as picture
from trainer.errors import DataError
from trainer.hardware import Hardware
from trainer.pictures import GAP, LABEL_HEIGHT, file_digest, labelled_row, load_photograph, load_square, stack_rows

CPU = Hardware(torch.device("cpu"), torch.float32)


def test_photographs_are_reduced_and_never_enlarged(tmp_path: Path) -> None:
    path = picture(tmp_path / "a.png", 60, 48)
    assert load_photograph(path, 30, CPU).shape == (1, 3, 24, 30)
    assert load_photograph(path, 200, CPU).shape == (1, 3, 48, 60)


def test_squares_are_the_middle_of_a_photograph(tmp_path: Path) -> None:
    image = Image.new("RGB", (90, 30), "red")
    image.paste((0, 0, 255), (30, 0, 60, 30))
    image.save(tmp_path / "a.png")
    for side in (10, 30, 64):
        found = load_square(tmp_path / "a.png", side, CPU)
        assert found.shape == (1, 3, side, side)
        assert torch.equal(found, torch.tensor([0.0, 0, 1])[None, :, None, None].expand_as(found))


def test_a_row_has_its_pictures_under_their_labels() -> None:
    white, black = torch.ones(3, 20, 30), torch.zeros(3, 10, 40)
    row = labelled_row([("one", white), ("two", black)])
    assert row.shape == (3, LABEL_HEIGHT + 20, 30 + GAP + 40)
    assert row[:, LABEL_HEIGHT : LABEL_HEIGHT + 10, 30 + GAP :].max() == 0
    assert row[:, LABEL_HEIGHT:, : 30 + GAP].min() == 1
    assert row[:, :LABEL_HEIGHT, :30].min() < 0.5
    assert row[:, :LABEL_HEIGHT, 30 + GAP :].min() < 0.5  # the second label
    assert labelled_row([("one", white), ("two", black)], 40).shape == (3, LABEL_HEIGHT + 40, 60 + GAP + 160)


def test_rows_of_different_widths_are_stacked() -> None:
    assert stack_rows([torch.zeros(3, 10, 30), torch.zeros(3, 5, 20)]).shape == (3, 15 + 2 * GAP, 30)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.png cannot be read"):
        file_digest(tmp_path / "none.png")
