from pathlib import Path

import torch

from tests.trainer.samples import photographs
from trainer.data import Photographs, random_exact_crop
from trainer.pairs import DegradedPhotographs, pack, sheet, unpack


def test_a_batch_of_pairs_is_one_tensor() -> None:
    low = torch.randint(0, 256, (2, 3, 5, 6), dtype=torch.uint8)
    wanted = torch.randint(0, 256, (2, 3, 15, 18), dtype=torch.uint8)
    pairs = pack(low, wanted)
    assert pairs.shape == (2, 3 + 27, 5, 6)
    assert all(torch.equal(one, other) for one, other in zip(unpack(pairs, 3), (low, wanted), strict=True))
    assert torch.equal(torch.cat(pairs.chunk(2)), pairs)  # a batch can be computed in parts


def test_pairs_are_a_photograph_and_its_damage(tmp_path: Path) -> None:
    folder = photographs(tmp_path)
    plain = Photographs(folder, 32, 3, random_exact_crop, seed=4)
    one, same = (DegradedPhotographs(folder, 32, 3, random_exact_crop, scale=2, seed=4) for _ in range(2))
    low, wanted = unpack(one.batch(7), 2)
    assert torch.equal(wanted, plain.batch(7))
    assert low.shape == (3, 3, 16, 16)
    assert torch.equal(one.batch(7), same.batch(7))
    assert not torch.equal(one.batch(7), one.batch(8))
    assert one.digest == plain.digest
    assert torch.equal(list(one.batches(6, 8))[1], one.batch(7))
    assert torch.equal(one.batch(7, range(1, 2)), one.batch(7)[1:2])


def test_a_sheet_shows_each_pair_side_by_side() -> None:
    low, wanted = torch.full((3, 3, 4, 4), 51, dtype=torch.uint8), torch.full((3, 3, 8, 8), 102, dtype=torch.uint8)
    picture = sheet(pack(low, wanted), 2)
    assert picture.shape == (3, 16, 32)
    assert torch.equal(picture[0, 0], torch.tensor([0.4] * 8 + [0.2] * 8).repeat(2))
    assert picture[:, 8:, 16:].max() == 0  # the last row has one pair
