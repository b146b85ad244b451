import client.errors
from pastiche import errors


def test_every_exception_of_the_client_is_public() -> None:
    defined = {
        name for name, value in vars(client.errors).items() if getattr(value, "__module__", "") == "client.errors"
    }
    assert set(errors.__all__) == defined
    assert all(getattr(errors, name) is getattr(client.errors, name) for name in errors.__all__)
