import pytest

from service.http.access.credentials import presented_key


@pytest.mark.parametrize(
    ("headers", "key"),
    [
        ([], None),
        ([(b"authorization", b"Bearer abc")], "abc"),
        ([(b"authorization", b"bearer  abc ")], "abc"),
        ([(b"authorization", b"Bearer ")], None),
        ([(b"authorization", b"Basic dXNlcg==")], None),
        ([(b"x-api-key", b"abc")], "abc"),
        ([(b"x-api-key", b"")], None),
        ([(b"authorization", b"Basic dXNlcg=="), (b"x-api-key", b"abc")], "abc"),
        ([(b"x-api-key", b"abc"), (b"authorization", b"Bearer def")], "def"),
        ([(b"authorization", b"Bearer \xe9")], "é"),
    ],
)
def test_key_is_found_in_either_header(headers: list[tuple[bytes, bytes]], key: str | None) -> None:
    assert presented_key(headers) == key
