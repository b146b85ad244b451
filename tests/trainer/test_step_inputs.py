import torch

from trainer.step_inputs import StepInputs


def inputs(side: int = 4, value: float = 0.0, zoomed: bool = False) -> StepInputs:
    return StepInputs({"images": torch.full((1, 3, side, side), value)}, {"zoomed": zoomed})


def test_inputs_of_one_key_have_the_same_shapes_and_constants() -> None:
    assert inputs().key == inputs(value=1.0).key
    assert len({inputs().key, inputs(side=5).key, inputs(zoomed=True).key}) == 3


def test_a_clone_keeps_its_values() -> None:
    given = inputs(value=1.0)
    kept = given.clone()
    given.tensors["images"].zero_()
    assert kept.tensors["images"].unique().tolist() == [1.0]
    assert kept.key == given.key
