import pytest
import torch
from torch import Tensor, nn

from model_store import for_inference
from model_store.importers.fast_neural_style import ABHISKK, GORDICALEKSA, PYTORCH_EXAMPLES
from model_store.importers.style_layout import StyleLayout
from tests.originals import SIZES, FastNeuralStyle, hand_norm, randomized

MEAN, DEVIATION = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])


def planes(values: Tensor) -> Tensor:
    return values[:, None, None]


def in_rgb(network: nn.Module, image: Tensor) -> Tensor:
    output: Tensor = network(image * 255)
    return output / 255


def in_bgr(network: nn.Module, image: Tensor) -> Tensor:
    output: Tensor = network(image.flip(1) * 255)
    return output.flip(1) / 255


def normalized(network: nn.Module, image: Tensor) -> Tensor:
    output: Tensor = network((image - planes(MEAN)) / planes(DEVIATION))
    return output * planes(DEVIATION) + planes(MEAN)


CASES = {
    "pytorch/examples": (PYTORCH_EXAMPLES, FastNeuralStyle(), in_rgb, 100.0),
    "abhiskk": (ABHISKK, FastNeuralStyle(hand_norm), in_bgr, 100.0),
    "gordicaleksa": (GORDICALEKSA, FastNeuralStyle(up=("up1", "up2", "up3")), normalized, 1.0),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("size", SIZES)
@torch.inference_mode()
def test_output_is_that_of_the_original(name: str, size: tuple[int, int]) -> None:
    layout, original, run, brightness = CASES[name]
    randomized(original)
    last = list(original.parameters())[-2:]
    for parameter in last:
        parameter.mul_(brightness)  # so that most of the output lies within the range
    image = torch.rand(1, 3, *size)
    expected = run(original, image)[..., : size[0], : size[1]].clamp(0, 1)
    assert ((expected > 0) & (expected < 1)).float().mean() > 0.2
    assert layout.differences(original.state_dict()) == []
    converted = layout.convert(original.state_dict())
    assert (converted(image) - expected).abs().max() < 2e-5
    assert (for_inference(converted)(image) - expected).abs().max() < 2e-5


@pytest.mark.parametrize("name", CASES)
def test_each_layout_is_told_from_the_others(name: str) -> None:
    layout, original, *_ = CASES[name]
    layouts: list[StyleLayout] = [case[0] for case in CASES.values()]
    assert [each for each in layouts if not each.differences(original.state_dict())] == [layout]


def test_running_statistics_of_old_files_are_ignored() -> None:
    state = FastNeuralStyle().state_dict()
    old = {"in1.running_mean": torch.ones(4), "res1.in2.running_var": torch.ones(8)}
    assert PYTORCH_EXAMPLES.differences(state | old) == []
