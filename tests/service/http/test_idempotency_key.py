import pytest

from service.errors import InvalidRequest
from service.http.idempotency_key import job_id_of, new_key, parse_key


def test_equal_keys_of_one_client_are_one_job() -> None:
    assert job_id_of("one", "key") == job_id_of("one", "key") != job_id_of("one", "other")
    assert job_id_of("one", "key") != job_id_of("two", "key")
    assert job_id_of("", None) != job_id_of("", None)
    assert parse_key(new_key()) != parse_key(new_key())


@pytest.mark.parametrize(
    ("header", "key"),
    [
        ('"with a space"', "with a space"),
        (r'"\"\\"', '"\\'),
        ("sk_live-1;2,3", "sk_live-1;2,3"),
        ('"' + "k" * 255 + '"', "k" * 255),
        ("k" * 255, "k" * 255),
    ],
)
def test_quoted_and_bare_keys_are_read(header: str, key: str) -> None:
    assert parse_key(header) == key
    assert len(job_id_of("", key)) == 32


UNQUOTED = ["", "a b", 'a"b', "ä", "k" * 256]
QUOTED = ['""', '"', '"a', '"a" "b"', '"ä"', r'"a\b"', '"a\n"']


@pytest.mark.parametrize("header", UNQUOTED + QUOTED)
def test_other_values_are_refused(header: str) -> None:
    with pytest.raises(InvalidRequest, match=r"^header\.Idempotency-Key: one key of 1 to 255 ASCII characters"):
        parse_key(header)
