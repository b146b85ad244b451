"""Where the service is mounted: the prefix that a proxy puts before its paths (ASGI's `root_path`)."""

from starlette.types import Scope


def root_path(scope: Scope) -> str:
    """The prefix of all paths of the service, as its clients see them; empty where there is none."""
    found: str = scope.get("app_root_path", scope.get("root_path", ""))  # a mounted application has a longer root_path
    return found


def route_path(scope: Scope) -> str:
    """The path of a request without the prefix, which ASGI has in both."""
    path: str = scope["path"]
    return path.removeprefix(root_path(scope)) or "/"


def without_prefix(path: str, prefix: str) -> str:
    """The path without a prefix that a proxy has left there; the same path where it does not begin with it."""
    return path[len(prefix) :] if f"{path}/".startswith(f"{prefix}/") else path
