"""Names of a package that are imported when they are first used (PEP 562)."""

from collections.abc import Callable, Mapping
from importlib import import_module


def names_of(package: str, modules: Mapping[str, str]) -> Callable[[str], object]:
    """The `__getattr__` of a package that has these names: the module that defines each of them.

    It raises AttributeError for any other name.
    """

    def find(name: str) -> object:
        if name not in modules:
            raise AttributeError(f"module {package!r} has no attribute {name!r}; it has: {', '.join(sorted(modules))}")
        return getattr(import_module(modules[name]), name)

    return find
