import pytest
import torch
from torch import Tensor

from model_store.networks.plain_parts import BLACK, CELL, EVEN, KEPT, REPEATED, WHITE, without_plain_parts
from tests.networks import network


def photograph(height: int = 64, width: int = 48, count: int = 1, seed: int = 0) -> Tensor:
    """Noise, of which no square is plain."""
    return torch.rand(count, 3, height, width, generator=torch.Generator().manual_seed(seed))


def squares(image: Tensor) -> Tensor:
    """The whole squares of an image (1, 3, H, W), row by row: (S, 3, CELL, CELL)."""
    parts = image[0].unfold(1, CELL, CELL).unfold(2, CELL, CELL)
    return parts.permute(1, 2, 0, 3, 4).flatten(0, 1)


def uses(image: Tensor, original: Tensor) -> list[int]:
    """How often each square of `original` is in the image."""
    found = squares(image)
    return [sum(torch.equal(square, other) for other in found) for square in squares(original)]


@pytest.mark.parametrize("colour", [(1.0, 1.0, 1.0), (0.0, 0.0, 0.0), (0.96, 1.0, 0.97), (0.06, 0.0, 0.01)])
@pytest.mark.parametrize("columns", [1, 2, 4, 5])
def test_what_is_plain_shows_all_of_the_rest_alike(colour: tuple[float, float, float], columns: int) -> None:
    image = photograph()
    plain = columns * CELL
    image[..., :plain] = torch.tensor(colour)[:, None, None]
    found = without_plain_parts(image)
    assert torch.equal(found[..., plain:], image[..., plain:])
    counts = uses(found, image[..., plain:])
    assert sum(counts) == 48 - 48 // KEPT
    assert max(counts) - min(counts) <= 1


def test_the_first_plain_squares_stay() -> None:
    image = photograph()
    image[..., :32] = 1.0
    found = squares(without_plain_parts(image))
    stay = [number for number, square in enumerate(found) if (square == 1).all()]
    assert stay == [0, 1, 2, 3]


def test_few_plain_squares_count_as_they_are() -> None:
    image = photograph()
    image[..., :CELL, : 4 * CELL] = 1.0
    assert torch.equal(without_plain_parts(image), image)


@pytest.mark.parametrize(
    "colour", [(1.0, 0.0, 0.0), (WHITE - 0.01,) * 3, (BLACK + 0.01,) * 3, (1.0, 1.0, 0.9), (0.5, 0.5, 0.5)]
)
def test_other_colours_are_not_plain(colour: tuple[float, float, float]) -> None:
    image = photograph()
    image[..., :16] = torch.tensor(colour)[:, None, None]
    assert torch.equal(without_plain_parts(image), image)


@pytest.mark.parametrize(("deviation", "is_plain"), [(0.7, True), (1.5, False)])
def test_noise_and_jpeg_may_have_touched_it(deviation: float, is_plain: bool) -> None:
    image = photograph()
    signs = torch.randint(2, (8, CELL), generator=torch.Generator().manual_seed(0)).float() * 2 - 1
    signs -= signs.mean()
    image[..., :CELL, :] = (0.97 + signs / signs.std() * deviation * EVEN).repeat(1, 6)
    assert torch.equal(without_plain_parts(image), image) != is_plain


def test_each_image_of_a_batch_is_looked_at_alone() -> None:
    images = photograph(count=3)
    images[0, ..., :24] = 1.0
    images[2] = 0.0
    found = without_plain_parts(images)
    assert torch.equal(found[:1], without_plain_parts(images[:1]))
    assert torch.equal(found[1:], images[1:])
    assert not torch.equal(found[0], images[0])


def test_rows_and_columns_at_the_end_that_are_no_whole_square_stay() -> None:
    image = photograph(67, 45)
    image[..., :32, :] = 1.0
    image[..., -3:, :] = 1.0
    image[..., -5:] = 1.0
    found = without_plain_parts(image)
    assert torch.equal(found[..., -3:, :], image[..., -3:, :])
    assert torch.equal(found[..., -5:], image[..., -5:])
    assert found[..., 8:32, :40].mean() < 0.6


@pytest.mark.parametrize("size", [(1, 1), (7, 300), (CELL, CELL)])
def test_an_image_that_is_plain_or_has_no_square_keeps_its_values(size: tuple[int, int]) -> None:
    assert torch.equal(without_plain_parts(torch.ones(2, 3, *size)), torch.ones(2, 3, *size))


@pytest.mark.parametrize("others", [1, 2])
def test_a_square_is_repeated_a_few_times_only(others: int) -> None:
    image = torch.ones(1, 3, 64, 64)
    image[..., 32:40, 16 : 16 + others * CELL] = photograph(CELL, others * CELL)
    counts = uses(without_plain_parts(image), image[..., 32:40, 16 : 16 + others * CELL])
    assert counts == [1 + REPEATED] * others


@pytest.mark.parametrize("value", [0.0, 1.0])
@pytest.mark.parametrize("grey", [0.1, 0.5, 0.9])
def test_a_background_is_not_far_from_the_mean(value: float, grey: float) -> None:
    image = torch.full((1, 3, 80, 80), value)
    image[..., 16:48, 16:48] = grey
    found = without_plain_parts(image)
    deviations = (value - found.mean()).abs() / found.std()
    assert deviations <= (KEPT - 1) ** 0.5 + 0.01


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_statistics_of_a_photograph_depend_little_on_a_white_or_black_border(value: float) -> None:
    subject = network(norm="thumbnail", thumbnail=64)
    bordered = torch.full((1, 3, 64, 64), value)
    bordered[..., 16:48, 16:48] = photograph(32, 32)
    rest = subject.statistics(photograph(32, 32))
    counted, found = ((rest - each).abs().mean() for each in (subject.measure(bordered), subject.statistics(bordered)))
    assert found < 0.6 * counted


def test_values_in_half_precision_are_only_moved() -> None:
    image = photograph().to(torch.bfloat16)
    image[..., :16] = 1.0
    found = without_plain_parts(image)
    assert found.dtype == torch.bfloat16
    assert set(found.flatten().tolist()) <= set(image.flatten().tolist())
