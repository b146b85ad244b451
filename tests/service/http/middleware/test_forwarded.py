from functools import partial

import pytest

from service.http.middleware.forwarded import Forwarded
from tests.service.http.asgi import Fields, call

PROXY = ("192.0.2.1", 1)
CLAIMS: Fields = [
    (b"x-forwarded-for", b"203.0.113.9, 198.51.100.7"),
    (b"x-forwarded-proto", b"https"),
    (b"x-forwarded-prefix", b"/pastiche/"),
]


def test_trusted_proxy_is_believed() -> None:
    scope, _ = call(partial(Forwarded, trusted="192.0.2.0/24"), headers=CLAIMS, scheme="http")
    assert scope["client"][0] == "198.51.100.7"  # the last that is no proxy: the first is what the client claims
    assert scope["scheme"] == "https"
    assert (scope["root_path"], scope["path"]) == ("/pastiche", "/pastiche/v1/models")


def test_others_are_not() -> None:
    scope, _ = call(partial(Forwarded, trusted="127.0.0.1"), headers=CLAIMS, scheme="http")
    assert (scope["client"], scope["scheme"], scope["path"]) == (PROXY, "http", "/v1/models")
    assert "root_path" not in scope


def test_unix_socket_is_this_machine() -> None:
    scope, _ = call(partial(Forwarded, trusted="127.0.0.1"), headers=CLAIMS, client=None)
    assert scope["client"][0] == "198.51.100.7"
    assert scope["root_path"] == "/pastiche"
    assert call(partial(Forwarded, trusted="127.0.0.1"), client=None)[0]["client"] == ("127.0.0.1", 0)


@pytest.mark.parametrize(
    "prefix",
    [b"", b"/", b"//evil.example", b"/a//b", b"https://evil.example", b"/..", b"/a/../b", b"/a b", b"/a?b", b"/\xe9"],
)
def test_prefix_that_could_lead_astray_is_ignored(prefix: bytes) -> None:
    scope, _ = call(partial(Forwarded, trusted="*"), headers=[(b"x-forwarded-prefix", prefix)])
    assert scope["path"] == "/v1/models"
    assert "root_path" not in scope


def test_two_prefixes_are_none() -> None:
    scope, _ = call(partial(Forwarded, trusted="*"), headers=[(b"x-forwarded-prefix", b"/a")] * 2)
    assert "root_path" not in scope


@pytest.mark.parametrize("path", ["/p", "/p/", "/p/v1/models", "/v1/models", "/", "/pp/v1"])
def test_prefix_of_the_settings_may_be_left_by_the_proxy_or_not(path: str) -> None:
    scope, _ = call(partial(Forwarded, trusted="", prefix="/p"), path=path)
    assert scope["root_path"] == "/p"
    assert scope["path"] == (path if path.startswith("/p/") or path == "/p" else f"/p{path}")


def test_prefix_of_the_proxy_comes_before_that_of_the_settings() -> None:
    named = [(b"x-forwarded-prefix", b"/q")]
    scope, _ = call(partial(Forwarded, trusted="*", prefix="/p"), headers=named)
    assert scope["path"] == "/q/v1/models"
    scope, _ = call(partial(Forwarded, trusted="*"), headers=[(b"x-forwarded-prefix", b"/v1")])
    assert (scope["root_path"], scope["path"]) == ("/v1", "/v1/v1/models")
