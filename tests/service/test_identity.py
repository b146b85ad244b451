from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch

from model_store import ModelStore
from service.briefs import StylizeBrief, StylizeParameters
from service.identity import canonical, identity, made_with
from service.jobs import Priority
from service.lifespan import Lifespan
from service.orders import Order, Terms
from service.painting import Painting
from service.photographs import ImageFormat, Output
from service.served_models import ServedModel
from service.tiling import TileSizes
from tests.networks import network
from tests.service.live import publish, serving

SIZES = TileSizes(2**20)
MADE = made_with(torch.device("cpu"), torch.float32, SIZES)


def served(root: Path) -> ServedModel:
    with serving(root) as live:
        lifespan: Lifespan = live.app.state.lifespan
        return lifespan._models.style("wave")


def test_identity_is_of_all_that_decides_on_the_bytes_and_nothing_else(tmp_path: Path) -> None:
    publish(tmp_path)
    model = served(tmp_path)
    order = Order(Painting(((model, 1.0),)), Terms(60), Output((ImageFormat.PNG,), 90))
    same = replace(order, terms=Terms(5, 1, Priority.BULK))
    assert identity(order, b"image", MADE) == identity(same, b"image", MADE)

    publish(tmp_path, built=network(seed=1))
    others = [
        (order, b"other", MADE),
        (order, b"image", made_with(torch.device("cpu"), torch.bfloat16, SIZES)),
        (order, b"image", made_with(torch.device("cpu"), torch.float32, TileSizes(2**19))),
        (replace(order, output=Output((ImageFormat.PNG,), 91)), b"image", MADE),
        (replace(order, output=Output((ImageFormat.WEBP,), 90)), b"image", MADE),
        (replace(order, treatment=Painting(((served(tmp_path), 1.0),))), b"image", MADE),
        (replace(order, treatment=Painting(((model, 1.0),), strength=0.5)), b"image", MADE),
        (replace(order, mask=b"mask"), b"image", MADE),
    ]
    assert ModelStore(tmp_path).current("wave") == 2
    assert len({identity(*other) for other in [*others, (order, b"image", MADE)]}) == 9


def test_options_that_are_added_count_by_themselves() -> None:
    @dataclass(frozen=True)
    class Mixed:
        weights: tuple[float, ...]
        mask: bytes | None = None

    assert canonical(Mixed((0.7, 0.3))) == canonical(Mixed((0.7, 0.3)))
    assert canonical(Mixed((0.7, 0.3))) != canonical(Mixed((0.3, 0.7)))
    assert canonical(Mixed((1.0,), b"")) != canonical(Mixed((1.0,)))
    with pytest.raises(TypeError, match="object"):
        canonical(object())


def test_brief_survives_being_stored() -> None:
    brief = StylizeBrief(style="wave", parameters=StylizeParameters(quality=80), accept="image/*", within=3.5)
    assert StylizeBrief.model_validate_json(brief.model_dump_json()) == brief
    assert brief.unhurried().parameters.priority is Priority.BULK
    urgent = StylizeBrief(style="wave", parameters=StylizeParameters(priority=Priority.INTERACTIVE))
    assert urgent.unhurried() == urgent
