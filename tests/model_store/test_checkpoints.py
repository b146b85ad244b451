"""The networks that come with the package."""

import pytest
import torch

from model_store import SHIPPED_STORE, ModelStore, for_inference

STORE = ModelStore(SHIPPED_STORE)
NAMES = STORE.names()


def test_there_are_two_styles_and_an_upscaler_and_a_style_can_be_tiled() -> None:
    manifests = [STORE.manifest(name) for name in NAMES]
    styles = [manifest for manifest in manifests if manifest.task == "style"]
    assert len(styles) >= 2
    assert any(manifest.tileable for manifest in styles)
    assert any((manifest.task, manifest.scale) == ("super-resolution", 4) for manifest in manifests)


@pytest.mark.parametrize("name", NAMES)
def test_each_is_sound_and_says_where_it_comes_from(name: str) -> None:
    manifest = STORE.verify(name)
    assert manifest.title
    assert manifest.license
    assert STORE.preview(name) is not None
    provenance = manifest.provenance
    assert provenance.steps > 0
    assert provenance.data
    assert provenance.recipe
    if manifest.task == "style":
        assert provenance.style_image
        assert provenance.style_digest.startswith("sha256:")
    else:
        assert provenance.metrics["psnr_set5"] >= 30.8


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_each_keeps_its_picture_when_it_is_made_fast(name: str, precision: torch.dtype) -> None:
    model = STORE.load(name)
    with torch.inference_mode():
        model.golden.check(for_inference(model.network, precision)(model.golden.batch()), precision)
