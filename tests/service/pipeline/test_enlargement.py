from dataclasses import dataclass
from typing import cast

import pytest

from service.models.served_model import ServedModel
from service.pipeline.enlargement import NOTICEABLE, choose_enlarger


@dataclass(frozen=True)
class Network:
    """All that the choice looks at."""

    scale: int


def chosen(factor: float, *scales: int) -> int | None:
    """The scale of the network that is chosen."""
    network = choose_enlarger([cast(ServedModel, Network(scale)) for scale in scales], factor)
    return None if network is None else network.scale


@pytest.mark.parametrize(
    ("factor", "scale"), [(0.5, None), (1.25, None), (1.3, 2), (2, 2), (2.5, 2), (2.6, 4), (4, 4), (5, 4), (8, 4)]
)
def test_the_least_scale_that_leaves_little_to_a_filter(factor: float, scale: int | None) -> None:
    assert chosen(factor, 4, 2) == scale


def test_small_factors_can_be_left_to_the_filter() -> None:
    networks = [cast(ServedModel, Network(scale)) for scale in (2, 4)]
    assert choose_enlarger(networks, NOTICEABLE, NOTICEABLE) is None
    assert choose_enlarger(networks, NOTICEABLE + 0.1, NOTICEABLE) is networks[1]


def test_without_a_scale_the_other_one_is_taken_and_without_any_none() -> None:
    assert chosen(1.5, 4) == 4
    assert chosen(4, 2) == 2
    assert chosen(4) is None
