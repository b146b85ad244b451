import socket

import pytest

from trainer.watch.address import Address, is_open, is_own_name, parse_address


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:8100", Address("127.0.0.1", 8100)),
        ("localhost:0", Address("localhost", 0)),
        ("[::1]:8100", Address("::1", 8100)),
    ],
)
def test_host_and_port(text: str, address: Address) -> None:
    assert parse_address(text) == address


@pytest.mark.parametrize("text", ["", "8100", "localhost", ":8100", "localhost:", "a:b", "a:99999", "http://a:1"])
def test_anything_else_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match=r"is no HOST:PORT, such as 127\.0\.0\.1:8100"):
        parse_address(text)


def test_names_of_a_server_on_this_machine_alone() -> None:
    assert all(is_own_name(name, "127.0.0.1") for name in ("localhost", "127.0.0.1", "::1", "LOCALHOST"))
    assert not any(is_own_name(name, "127.0.0.1") for name in ("", "evil.example", "203.0.113.1", socket.gethostname()))
    assert not is_open("127.0.0.1")


def test_names_of_a_server_that_others_reach() -> None:
    assert is_own_name("gpu.example", "gpu.example")
    assert is_own_name("203.0.113.1", "0.0.0.0")
    assert is_own_name(socket.gethostname(), "::")
    assert not is_own_name("evil.example", "0.0.0.0")
    assert is_open("0.0.0.0")
