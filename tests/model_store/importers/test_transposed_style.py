import pytest
import torch
from torch import Tensor

from model_store import for_inference
from model_store.importers.style_layout import StyleLayout
from model_store.importers.transposed_style import RRMINA, RRMINA_TANH
from tests.originals import SIZES, Rrmina, randomized

CASES = {"linear": (RRMINA, Rrmina(tanh=False)), "tanh": (RRMINA_TANH, Rrmina(tanh=True))}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("size", SIZES)
@torch.inference_mode()
def test_output_is_that_of_the_original(name: str, size: tuple[int, int]) -> None:
    layout, original = CASES[name]
    randomized(original)
    for parameter in list(original.parameters())[-2:]:
        parameter.mul_(1 if name == "tanh" else 100)  # so that most of the output lies within the range
    image = torch.rand(1, 3, *size)
    output: Tensor = original(image.flip(1) * 255)
    expected = (output.flip(1) / 255)[..., : size[0], : size[1]].clamp(0, 1)
    assert ((expected > 0) & (expected < 1)).float().mean() > 0.2
    assert layout.differences(original.state_dict()) == []
    converted = layout.convert(original.state_dict())
    assert (converted(image) - expected).abs().max() < 2e-5
    assert (for_inference(converted)(image) - expected).abs().max() < 2e-5


def test_both_variants_have_the_same_keys() -> None:
    layouts: list[StyleLayout] = [RRMINA, RRMINA_TANH]
    assert [layout.differences(Rrmina(tanh=True).state_dict()) for layout in layouts] == [[], []]
    assert RRMINA.convert(Rrmina(tanh=True).state_dict()).spec.architecture == "c9s1-4,d6,d8,R8*5,t6,t4,c9s1-3"
