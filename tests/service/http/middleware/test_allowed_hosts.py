import json
from functools import partial

import pytest

from service.http.middleware.allowed_hosts import AllowedHosts
from service.http.problems import Problems
from service.pipeline.trace import Trace
from tests.service.http.asgi import Fields, call

BUILD = partial(AllowedHosts, hosts=["Pastiche.example", "*.example.com", "127.0.0.1", "[::1]"], problems=Problems())


def is_answered(headers: Fields, path: str = "/v1/models") -> bool:
    scope, sent = call(BUILD, path, headers, state={"trace": Trace("mine")})
    assert bool(scope) == (sent[0]["status"] == 200)
    return bool(scope)


@pytest.mark.parametrize(
    "host",
    [
        "pastiche.example",
        "PASTICHE.example:8000",
        "a.example.com",
        "a.b.example.com:80",
        "127.0.0.1:8000",
        "[::1]:8000",
    ],
)
def test_own_hosts_are_answered(host: str) -> None:
    assert is_answered([(b"host", host.encode())])


@pytest.mark.parametrize(
    "host", ["evil.example", "example.com", "xexample.com", "pastiche.example.evil", "pastiche.example:x", "", "::1"]
)
def test_others_are_not(host: str) -> None:
    assert not is_answered([(b"host", host.encode())])


def test_request_names_one_host() -> None:
    assert not is_answered([])
    assert not is_answered([(b"host", b"pastiche.example"), (b"host", b"evil.example")])


def test_probes_may_name_any() -> None:
    assert is_answered([(b"host", b"10.0.0.7:8000")], "/livez")
    assert is_answered([(b"host", b"10.0.0.7:8000")], "/readyz")


def test_refusal_is_a_problem_that_names_the_hosts() -> None:
    _, sent = call(BUILD, headers=[(b"host", b"evil.example")], state={"trace": Trace("mine")})
    problem = json.loads(sent[1]["body"])
    assert (sent[0]["status"], problem["type"], problem["instance"]) == (421, "/problems/unknown-host", "mine")
    assert "pastiche.example" in problem["detail"]
    assert "*.example.com" in problem["detail"]
