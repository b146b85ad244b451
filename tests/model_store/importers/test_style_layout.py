import pytest
import torch

from model_store.importers.fast_neural_style import PYTORCH_EXAMPLES
from tests.originals import FastNeuralStyle, randomized

STATE = randomized(FastNeuralStyle()).state_dict()


def test_width_and_depth_are_those_of_the_checkpoint() -> None:
    spec = PYTORCH_EXAMPLES.convert(STATE).spec
    assert spec.architecture == "c9s1-4,d6,d8,R8*5,u6,u4,c9s1-3"
    assert (spec.norm, spec.form, spec.output, spec.tileable) == ("instance", "same", "linear", False)
    for blocks, notation in ((0, ""), (1, "R8,"), (3, "R8*3,"), (66, "R8*64,R8*2,")):
        other = randomized(FastNeuralStyle(blocks=blocks)).state_dict()
        assert PYTORCH_EXAMPLES.convert(other).spec.architecture == f"c9s1-4,d6,d8,{notation}u6,u4,c9s1-3"


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"in1.bias": None}, "in1.bias is missing"),
        ({"extra.weight": torch.ones(1)}, "extra.weight is not part of it"),
        ({"conv2.conv2d.weight": torch.ones(6, 4, 5, 5)}, r"conv2.conv2d.weight is (6, 4, 5, 5), not (6, 4, 3, 3)"),
        ({"deconv3.conv2d.weight": torch.ones(4, 4, 9, 9)}, r"deconv3.conv2d.weight is (4, 4, 9, 9), not (3, 4, 9, 9)"),
        ({"in2.weight": torch.ones(5)}, "in2.weight is (5,), not (6,)"),
    ],
)
def test_every_difference_is_named(change: dict[str, torch.Tensor | None], complaint: str) -> None:
    changed = {key: tensor for key, tensor in (STATE | change).items() if tensor is not None}
    assert PYTORCH_EXAMPLES.differences(changed) == [complaint]


@pytest.mark.parametrize("inner", [5, 9])
def test_a_residual_block_that_narrows_or_widens_is_a_difference(inner: int) -> None:
    zeros = torch.zeros
    first = {"conv1.conv2d.weight": zeros(inner, 8, 3, 3), "conv1.conv2d.bias": zeros(inner)}
    norm = {"in1.weight": zeros(inner), "in1.bias": zeros(inner)}
    changed = {**first, **norm, "conv2.conv2d.weight": zeros(8, inner, 3, 3)}
    found = PYTORCH_EXAMPLES.differences(STATE | {f"res2.{key}": tensor for key, tensor in changed.items()})
    assert found[0] == f"res2.conv1.conv2d.weight is ({inner}, 8, 3, 3), not (8, 8, 3, 3)"
    assert len(found) == 5


def test_the_tensors_of_the_checkpoint_stay_as_they_are() -> None:
    before = {key: tensor.clone() for key, tensor in STATE.items()}
    PYTORCH_EXAMPLES.convert(STATE)
    assert all(torch.equal(STATE[key], tensor) for key, tensor in before.items())
