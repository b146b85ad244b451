import pytest

from client.address import key_headers, parse_address


@pytest.mark.parametrize("address", ["http://127.0.0.1:8000", "https://host.example/prefix", "http://[::1]:80"])
def test_address_stays_as_it_is(address: str) -> None:
    assert parse_address(address) == address


@pytest.mark.parametrize(
    ("text", "example"),
    [
        ("localhost:8123", "http://localhost:8123"),
        ("ftp://host", "http://127.0.0.1:8000"),
        ("", "http://127.0.0.1:8000"),
    ],
)
def test_other_texts_are_refused_with_an_example(text: str, example: str) -> None:
    with pytest.raises(ValueError, match=f"is no address of a server; one is written {example}"):
        parse_address(text)


def test_key_is_a_bearer_token() -> None:
    assert key_headers("secret") == {"Authorization": "Bearer secret"}
    assert key_headers(None) == {}
