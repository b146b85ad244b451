from pathlib import Path

import pytest

from model_store import ModelStore
from pastiche.catalogue import Catalogue, LoadedOnUse
from service.engine.loaded_model import LoadedModel
from service.errors import ModelUnavailable, UnknownModel, UnknownVersion
from tests.service.engine.runners import LOADERS, load, made, stored
from tests.service.live import publish, publish_upscaler


def test_model_is_loaded_once_when_it_is_used(tmp_path: Path) -> None:
    publish(tmp_path)
    runner, calls = made(), list[str]()
    loaded = load(runner, stored(tmp_path))

    def read() -> LoadedModel:
        calls.append("read")
        return loaded

    subject = LoadedOnUse("wave@1", read)
    assert calls == []
    assert subject.default is loaded.default
    assert subject.fp32 is loaded.fp32
    assert calls == ["read"]
    runner.close()


def test_models_are_selected_as_the_service_selects_them(tmp_path: Path) -> None:
    publish(tmp_path)
    publish_upscaler(tmp_path)
    runner = made()
    catalogue = Catalogue([ModelStore(tmp_path)], LOADERS[runner], {})
    assert [model.label for model in catalogue.all()] == ["wave@1", "x4@1"]
    assert catalogue.style("wave").label == "wave@1"
    assert [model.name for model in catalogue.upscalers(16)] == ["x4", "x4"]
    assert [model.name for model in catalogue.enlargers()] == ["x4"]
    with pytest.raises(UnknownModel):
        catalogue.find("sea")
    runner.close()


def test_pinned_version_takes_the_place_of_the_promoted_one(tmp_path: Path) -> None:
    for store in ("one", "one", "two"):
        publish(tmp_path / store)
    stores = [ModelStore(tmp_path / "one"), ModelStore(tmp_path / "two")]
    runner = made()
    found = Catalogue(stores, LOADERS[runner], {"wave": 2}).find("wave")
    assert (found.source.root, found.label) == (tmp_path / "one", "wave@2")
    assert Catalogue(stores, LOADERS[runner], {}).find("wave").label == "wave@1"
    with pytest.raises(UnknownVersion, match="there are: 1, 2"):
        Catalogue(stores, LOADERS[runner], {"wave": 3})
    runner.close()


def test_model_whose_manifest_is_broken_is_not_there_for_a_while(tmp_path: Path) -> None:
    publish(tmp_path)
    (tmp_path / "wave" / "1" / "manifest.json").write_text("{}")
    runner = made()
    with pytest.raises(ModelUnavailable, match="wave could not be loaded"):
        Catalogue([ModelStore(tmp_path)], LOADERS[runner], {}).find("wave")
    runner.close()
