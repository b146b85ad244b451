import pytest

from service.errors import InvalidRequest
from service.http.job_headers import JobHeaders


def test_headers_of_a_job_are_read() -> None:
    headers = JobHeaders.parse(["respond-async, wait=5"], "https://example.com/", '"mine"')
    assert headers == JobHeaders(preferred=True, wait=5, callback_url="https://example.com/", key="mine")
    assert headers.without_wait() == JobHeaders(preferred=True, wait=0, callback_url="https://example.com/", key="mine")
    assert JobHeaders.parse(["respond-async"], None, None).key is None


def test_a_key_means_nothing_where_there_is_to_be_no_job() -> None:
    assert JobHeaders.parse(None, None, '"mine') == JobHeaders(preferred=False, wait=0, callback_url=None, key=None)
    with pytest.raises(InvalidRequest, match=r"header\.Idempotency-Key"):
        JobHeaders.parse(["respond-async"], None, '"mine')
