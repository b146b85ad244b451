import pytest

from client.address import ascii_url, key_headers, parse_address


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


@pytest.mark.parametrize(("text", "key"), [("secret\n", "secret"), (" a b ", "a b")])
def test_key_out_of_a_file_has_no_space_around_it(text: str, key: str) -> None:
    assert key_headers(text) == {"Authorization": f"Bearer {key}"}


@pytest.mark.parametrize("text", ["", " ", "\n"])
def test_empty_key_is_none(text: str) -> None:
    assert key_headers(text) == {}


@pytest.mark.parametrize("text", ["se\ncret", "sécret", "se\0cret", "secret\x7f"])
def test_key_that_no_header_can_have_is_refused_and_not_told(text: str) -> None:
    with pytest.raises(ValueError, match="printable ASCII") as refused:
        key_headers(text)
    assert "cret" not in str(refused.value)


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("https://app.example/painted?a=%20b", "https://app.example/painted?a=%20b"),
        ("https://bücher.example/gemälde?für=ü", "https://xn--bcher-kva.example/gem%C3%A4lde?f%C3%BCr=%C3%BC"),
    ],
)
def test_url_in_a_header_is_ascii(url: str, told: str) -> None:
    assert ascii_url(url) == told


def test_url_that_no_header_can_have_is_refused() -> None:
    with pytest.raises(ValueError, match=r"'https://☃.example' is no URL"):
        ascii_url("https://☃.example")
