import pytest
import torch

from model_store import for_inference
from model_store.importers.tensorflow_style import LENGSTROM, from_variables
from tests.originals import SIZES, Lengstrom

ORIGINAL = Lengstrom()
VARIABLES = {f"Variable_{number}" if number else "Variable": each for number, each in enumerate(ORIGINAL.arrays)}


@pytest.mark.parametrize("size", SIZES)
@torch.inference_mode()
def test_output_is_that_of_the_original(size: tuple[int, int]) -> None:
    image = torch.rand(1, 3, *size)
    expected = (ORIGINAL(image * 255) / 255)[..., : size[0], : size[1]].clamp(0, 1)
    assert ((expected > 0) & (expected < 1)).float().mean() > 0.2
    tensors = from_variables(VARIABLES)
    assert tensors is not None
    assert LENGSTROM.differences(tensors) == []
    converted = LENGSTROM.convert(tensors)
    assert (converted(image) - expected).abs().max() < 2e-5
    assert (for_inference(converted)(image) - expected).abs().max() < 2e-5


def test_variables_are_ordered_by_number_whatever_else_is_saved() -> None:
    shuffled = dict(reversed(VARIABLES.items()))
    more = {"Variable_3/Adam": torch.ones(3), "beta1_power": torch.ones(())}
    found, expected = from_variables(shuffled | more), from_variables(VARIABLES)
    assert found is not None
    assert expected is not None
    assert all(torch.equal(found[key], tensor) for key, tensor in expected.items())


def test_single_numbers_are_no_weights() -> None:
    rate = {f"Variable_{len(VARIABLES)}": torch.ones(())}
    assert from_variables(VARIABLES | rate) is not None


def test_arrays_without_names_are_understood_too() -> None:
    assert from_variables({f"arr_{number}": each for number, each in enumerate(ORIGINAL.arrays)}) is not None


@pytest.mark.parametrize("count", [0, 3, 47])
def test_other_arrays_are_not_these_variables(count: int) -> None:
    assert from_variables(dict(list(VARIABLES.items())[:count])) is None
