from pathlib import Path

from model_store import NetworkSpec
from tests.trainer.samples import style_config
from trainer.data import random_scaled_crop
from trainer.hardware import Hardware
from trainer.provenance import make_draft, make_provenance
from trainer.task_parts import crops_of

CPU = Hardware.of("cpu", "fp32")
SPEC = NetworkSpec(architecture="c3s1-4,c3s1-3")


def test_the_manifest_has_the_recipe_and_no_path(tmp_path: Path) -> None:
    config = style_config(tmp_path, title="Wave", style_weight=7, steps=9)
    pictures = crops_of(config, config.content, random_scaled_crop, config.image_size, CPU)
    provenance = make_provenance(config, CPU, pictures, 5, {"content": 0.5})
    draft = make_draft(config, "style", provenance)
    assert (draft.name, draft.title, provenance.steps, provenance.losses) == ("wave", "Wave", 5, {"content": 0.5})
    assert provenance.recipe["style_weight"] == 7
    assert (provenance.recipe["steps"], provenance.recipe["precision"]) == (9, "float32")
    assert provenance.data == "5 photographs"
    assert str(tmp_path) not in draft.model_dump_json()
