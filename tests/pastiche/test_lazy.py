import math

import pytest

import pastiche
from pastiche.lazy import names_of


def test_name_is_that_of_its_module() -> None:
    assert names_of("shapes", {"pi": "math"})("pi") == math.pi


def test_other_names_are_refused_with_those_that_there_are() -> None:
    with pytest.raises(AttributeError, match=r"module 'shapes' has no attribute 'e'; it has: pi, tau"):
        names_of("shapes", {"tau": "math", "pi": "math"})("e")


def test_package_has_every_name_that_it_lists() -> None:
    assert all(getattr(pastiche, name) is not None for name in pastiche.__all__)
