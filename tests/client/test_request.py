import math

import httpx
import pytest

from client.request import Request


def timeouts(request: Request, seconds: float = math.inf) -> tuple[float, float]:
    """Of the connection, and of each read."""
    built = request.build(httpx.Client(base_url="http://here/pre", verify=False), seconds).extensions["timeout"]
    assert built["pool"] is None
    return built["connect"], built["read"]


def test_prefix_of_the_address_is_kept() -> None:
    built = Request("GET", "/v1/models", {"a": "b c"}).build(httpx.Client(base_url="http://here/pre", verify=False), 1)
    assert str(built.url).startswith("http://here/pre/v1/models?")
    assert dict(built.url.params) == {"a": "b c"}


def test_mask_makes_it_a_form() -> None:
    http = httpx.Client(base_url="http://here", verify=False)
    plain = Request("POST", "/x", content=b"image").build(http, 1)
    assert plain.read() == b"image"
    form = Request("POST", "/x", content=b"image", mask=b"mask").build(http, 1)
    assert form.headers["Content-Type"].startswith("multipart/form-data")
    assert b'name="mask"' in form.read()


def test_timeout_is_told_and_waited_for_a_little_longer() -> None:
    built = Request("POST", "/x", timeout=2.5).build(httpx.Client(base_url="http://here", verify=False), 100)
    assert built.headers["X-Request-Timeout"] == "2.5"
    assert timeouts(Request("POST", "/x", timeout=2.5)) == (10, 62.5)


@pytest.mark.parametrize("timeout", [math.inf, math.nan, -1e3, 1e12])
def test_timeout_that_cannot_be_is_left_to_the_service_to_refuse(timeout: float) -> None:
    with httpx.Client(base_url="http://127.0.0.1:9") as http:
        request = Request("POST", "/x", timeout=timeout)
        assert request.build(http, math.inf).headers["X-Request-Timeout"] == f"{timeout:g}"
        with pytest.raises(httpx.ConnectError):
            http.send(request.build(http, math.inf))


@pytest.mark.parametrize(("seconds", "expected"), [(math.inf, (10, 660)), (5, (5, 5))])
def test_no_answer_is_waited_for_without_end(seconds: float, expected: tuple[float, float]) -> None:
    request = Request("GET", "/x")
    assert timeouts(request, seconds) == expected
