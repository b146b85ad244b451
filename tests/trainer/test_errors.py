import pytest
import torch

from trainer import errors

ERRORS = [value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, Exception)]


@pytest.mark.parametrize("error", ERRORS)
def test_every_error_is_one_that_the_command_line_explains(error: type[Exception]) -> None:
    assert issubclass(error, errors.TrainerError)
    assert str(error("--steps takes a number")) == "--steps takes a number"


def test_a_lack_of_memory_is_known_whoever_tells_it() -> None:
    with pytest.raises(RuntimeError) as refused:
        torch.empty(2**50)
    assert errors.lacks_memory(refused.value)
    assert errors.lacks_memory(torch.OutOfMemoryError("CUDA out of memory"))
    assert errors.lacks_memory(MemoryError())
    assert errors.lacks_memory(RuntimeError("CUDA error: out of memory"))
    assert errors.lacks_memory(RuntimeError("could not create a primitive"))
    assert not errors.lacks_memory(RuntimeError("could not create a primitive descriptor for a convolution"))
    assert errors.lacks_memory(RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"))
    assert not errors.lacks_memory(RuntimeError("sizes do not match"))
