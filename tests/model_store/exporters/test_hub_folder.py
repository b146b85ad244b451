import io
import json
from pathlib import Path

import pytest
import yaml
from PIL import Image

from model_store import ModelStore, NetworkSpec, model_card
from model_store.exporters.hub_folder import hub_files
from tests.model_store.exporters.exports import SMALL, stored, stored_compact
from tests.networks import network


def test_folder_has_card_weights_configuration_and_pictures(tmp_path: Path) -> None:
    model = stored(tmp_path, network(SMALL))
    files = hub_files(model, ModelStore(tmp_path).tensors(model.manifest), b"a picture")
    pictures = {"preview.png", "example-input.png", "example-output.png"}
    assert files.keys() == {"README.md", "config.json", "model.safetensors", *pictures}
    configuration = json.loads(files["config.json"])
    assert NetworkSpec.model_validate(configuration["network"]) == model.manifest.network
    assert configuration["digest"] == model.manifest.digest
    with Image.open(io.BytesIO(files["example-output.png"])) as image:
        assert image.size == (83, 61)


def test_card_is_that_of_the_store_and_says_how_to_load_the_folder(tmp_path: Path) -> None:
    model = stored(tmp_path, network(SMALL))
    card = hub_files(model, ModelStore(tmp_path).tensors(model.manifest), None)["README.md"].decode()
    assert card.startswith(model_card(model.manifest, preview=False))
    assert yaml.safe_load(card.split("---")[1])["license"] == "apache-2.0"
    assert "pastiche-models import model.safetensors --name wave" in card
    assert "register()" in card


def test_networks_of_others_need_no_registration(tmp_path: Path) -> None:
    pytest.importorskip("spandrel")
    model = stored_compact(tmp_path)
    tensors = ModelStore(tmp_path / "models").tensors(model.manifest)
    card = hub_files(model, tensors, None)["README.md"].decode()
    assert "register()" not in card
    assert "loads the file as that of its architecture" in card
