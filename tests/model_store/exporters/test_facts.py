from pathlib import Path

from model_store.exporters.facts import facts
from tests.model_store.exporters.exports import stored
from tests.networks import network


def test_facts_are_text_and_none_is_empty(tmp_path: Path) -> None:
    manifest = stored(tmp_path, network("c3s1-4,c3s1-12,p2")).manifest
    found = facts(manifest)
    assert found["digest"] == manifest.digest
    assert (found["scale"], found["tileable"], found["license"]) == ("2", "true", "Apache-2.0")
    assert found["output"] == "RGB, float32 (batch, 3, 2 · height, 2 · width), 0 to 1"
    assert all(found.values())
    assert "author" not in found
