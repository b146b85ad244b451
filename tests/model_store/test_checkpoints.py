"""The networks that come with the package."""

import pytest
import torch

from model_store import SHIPPED_STORE, ModelStore, for_inference

STORE = ModelStore(SHIPPED_STORE)
NAMES = STORE.names()

BICUBIC_ON_SET5 = {2: 33.69, 4: 28.43, 8: 24.40}
"""Decibels of bicubic enlargement, by scale."""

GAIN = 1.6
"""Decibels by which networks for fidelity are better; those for the eye give up one of them at most."""


def test_there_are_styles_and_upscalers_and_all_can_be_tiled() -> None:
    manifests = [STORE.manifest(name) for name in NAMES]
    styles = [manifest for manifest in manifests if manifest.task == "style"]
    assert len(styles) >= 12
    assert all(manifest.tileable for manifest in manifests)
    assert {manifest.scale for manifest in manifests if manifest.task == "super-resolution"} >= {4, 8}


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
    elif provenance.recipe.get("degradation") == "photo":  # Set5 is clean; docs/upscaling.md has what it is worth
        assert provenance.recipe["teacher"]["license"] == "BSD-3-Clause"
        assert provenance.recipe["teacher"]["digest"].startswith("sha256:")
    elif name.startswith("paper-"):  # for the record, whatever the recipe gives
        assert provenance.metrics["psnr_set5"] > 0
    else:
        given_up = 1.0 if name.endswith("-perceptual") else 0.0
        assert provenance.metrics["psnr_set5"] >= BICUBIC_ON_SET5[manifest.scale] + GAIN - given_up


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_each_keeps_its_picture_when_it_is_made_fast(name: str, precision: torch.dtype) -> None:
    model = STORE.load(name)
    with torch.inference_mode():
        model.golden.check(for_inference(model.network, precision)(model.golden.batch()), precision)
