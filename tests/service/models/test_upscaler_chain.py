from dataclasses import dataclass
from typing import cast

import pytest

from service.models.served_model import ServedModel
from service.models.upscaler_chain import chain_scale, chain_scales, factorize


@dataclass(frozen=True)
class Network:
    """All that a scale is chosen by."""

    name: str
    scale: int


TWO, THREE, FOUR = (cast(ServedModel, Network(f"x{scale}", scale)) for scale in (2, 3, 4))


@pytest.mark.parametrize(
    ("scale", "scales", "chain"),
    [
        (1, {2}, ()),
        (8, {2, 4}, (4, 2)),
        (8, {2, 4, 8}, (8,)),
        (12, {2, 3, 4}, (4, 3)),
        (6, {4}, None),
        (16, {1, 4}, (4, 4)),
        (16, {2, 4, 8}, (4, 4)),
        (32, {2, 4, 8}, (8, 4)),
        (48, {2, 3, 4, 8}, (4, 4, 3)),
    ],
)
def test_scale_is_the_product_of_the_fewest(scale: int, scales: set[int], chain: tuple[int, ...] | None) -> None:
    assert factorize(scale, scales) == chain


def test_scales_of_chains_are_products_up_to_the_largest() -> None:
    assert chain_scales({2, 3}) == [2, 3, 4, 6, 8, 9, 12, 16]
    assert chain_scales(set()) == []


@pytest.mark.parametrize(("scale", "chosen"), [(2, 2), (2.5, 4), (1.1, 2), (16, 16), (16.1, None)])
def test_scale_between_two_chains_is_that_of_the_next_larger(scale: float, chosen: int | None) -> None:
    assert chain_scale(scale, [TWO, FOUR], []) == chosen


def test_named_networks_must_fit_into_the_chain() -> None:
    assert chain_scale(2.5, [TWO, THREE, FOUR], []) == 3
    assert chain_scale(2.5, [TWO, THREE, FOUR], ["x4"]) == 4
    assert chain_scale(3, [TWO, THREE, FOUR], ["x4"]) == 3  # which no chain with it has: the name is refused
