import pytest

from trainer import errors

ERRORS = [value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, Exception)]


@pytest.mark.parametrize("error", ERRORS)
def test_every_error_is_one_that_the_command_line_explains(error: type[Exception]) -> None:
    assert issubclass(error, errors.TrainerError)
    assert str(error("--steps takes a number")) == "--steps takes a number"
