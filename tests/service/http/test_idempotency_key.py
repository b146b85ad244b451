import pytest

from service.errors import InvalidRequest
from service.http.idempotency_key import job_id_of, new_key


def test_equal_keys_are_one_job() -> None:
    assert job_id_of('"a"') == job_id_of("a") != job_id_of('"b"')
    assert job_id_of(r'"a\"\\"') != job_id_of('"a"')
    assert len({job_id_of(None), job_id_of(None), job_id_of(new_key()), job_id_of(new_key())}) == 4


@pytest.mark.parametrize("key", ['"' + "k" * 255 + '"', "k" * 255, '"with a space"', "sk_live-1;2,3"])
def test_keys_become_ids_of_jobs(key: str) -> None:
    assert len(job_id_of(key)) == 32
    assert job_id_of(key).isalnum()


@pytest.mark.parametrize(
    "key", ["", '""', '"', '"a', 'a"b', "a b", '"a" "b"', "ä", '"ä"', "k" * 256, r'"a\b"', '"a\n"']
)
def test_other_values_are_refused(key: str) -> None:
    with pytest.raises(InvalidRequest, match=r"^header\.Idempotency-Key: one key of 1 to 255 ASCII characters"):
        job_id_of(key)
