from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, cast

import pytest

from service.errors import ModelUnavailable, UnknownModel
from service.models.selection import ModelSelection
from service.models.served_model import ServedModel


def model(name: str, scale: int = 1, *, restores: bool = False, task: str = "super-resolution") -> ServedModel:
    manifest = SimpleNamespace(task=task, tileable=True, created=datetime(2026, 1, 1, tzinfo=UTC))
    made: Any = SimpleNamespace(name=name, scale=scale, upscales=task != "style", restores=restores, manifest=manifest)
    return cast(ServedModel, made)


@dataclass
class Models(ModelSelection):
    models: list[ServedModel]
    missing: list[str] = field(default_factory=list)

    def all(self) -> list[ServedModel]:
        return self.models

    def explain_absence(self, name: str | None = None) -> None:
        if name in self.missing:
            raise ModelUnavailable(f"{name} is being loaded")


MODELS = Models(
    [model("wave", task="style"), model("x2", 2), model("x4", 4), model("x4-photo", 4, restores=True)], ["sea"]
)


def test_models_are_found_by_name() -> None:
    assert MODELS.find("x2").name == "x2"
    assert MODELS.style("wave").name == "wave"
    with pytest.raises(UnknownModel, match="no style is named 'x2'; there are: wave"):
        MODELS.style("x2")
    with pytest.raises(ModelUnavailable, match="sea is being loaded"):
        MODELS.find("sea")


@pytest.mark.parametrize(
    ("scale", "names", "chain"),
    [
        (4, None, ["x4"]),
        (8, None, ["x4", "x2"]),
        (3, None, ["x4"]),
        (8, "x2", ["x2", "x4"]),
        (4, "x4-photo", ["x4-photo"]),
    ],
)
def test_chain_has_the_scale(scale: float, names: str | None, chain: list[str]) -> None:
    assert [each.name for each in MODELS.upscalers(scale, names)] == chain


RESTORING = Models([*MODELS.models, model("denoise", task="restoration"), model("deblock", task="restoration")])


@pytest.mark.parametrize(
    ("scale", "names", "chain"),
    [
        (1, "denoise", ["denoise"]),
        (1, "deblock,denoise", ["deblock", "denoise"]),
        (4, "denoise", ["denoise", "x4"]),
        (2.5, "denoise", ["denoise", "x4"]),
        (8, "deblock,x2", ["deblock", "x2", "x4"]),
        (4, None, ["x4"]),
    ],
)
def test_networks_that_keep_the_size_are_in_a_chain_by_their_names(
    scale: float, names: str | None, chain: list[str]
) -> None:
    assert [each.name for each in RESTORING.upscalers(scale, names)] == chain


def test_scale_one_needs_a_network_that_keeps_the_size() -> None:
    with pytest.raises(UnknownModel, match="×1 takes a network that restores, by the option model; there are: denoise"):
        RESTORING.upscalers(1)
    with pytest.raises(UnknownModel, match=r"no model that enlarges ×1, .* is named 'x4'; there are: denoise, deblock"):
        RESTORING.upscalers(1, "x4")


def test_scale_beyond_all_chains_is_refused() -> None:
    with pytest.raises(UnknownModel, match="the largest scale is 16"):
        MODELS.upscalers(17)
    with pytest.raises(UnknownModel, match="there is none that enlarges"):
        Models([]).upscalers(2)


def test_networks_with_a_purpose_are_found() -> None:
    assert [each.name for each in MODELS.enlargers()] == ["x2", "x4"]
    found = MODELS.restorer(4)
    assert found is not None
    assert found.name == "x4-photo"
    assert MODELS.restorer(2) is None
