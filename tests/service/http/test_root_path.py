import pytest

from service.http.root_path import root_path, route_path, without_prefix


@pytest.mark.parametrize(
    ("scope", "root", "route"),
    [
        ({"path": "/v1/models"}, "", "/v1/models"),
        ({"path": "/v1/models", "root_path": ""}, "", "/v1/models"),
        ({"path": "/p/v1/models", "root_path": "/p"}, "/p", "/v1/models"),
        ({"path": "/p", "root_path": "/p"}, "/p", "/"),
        ({"path": "/p/static/a.css", "root_path": "/p/static", "app_root_path": "/p"}, "/p", "/static/a.css"),
    ],
)
def test_prefix_and_path_are_told_apart(scope: dict[str, str], root: str, route: str) -> None:
    assert (root_path(scope), route_path(scope)) == (root, route)


@pytest.mark.parametrize(
    ("path", "prefix", "rest"),
    [
        ("/v1/models", "", "/v1/models"),
        ("/p/v1/models", "/p", "/v1/models"),
        ("/v1/models", "/p", "/v1/models"),
        ("/pp/v1/models", "/p", "/pp/v1/models"),
        ("/p/p/v1", "/p", "/p/v1"),
        ("/p", "/p", ""),
    ],
)
def test_prefix_is_removed_where_it_is(path: str, prefix: str, rest: str) -> None:
    assert without_prefix(path, prefix) == rest
