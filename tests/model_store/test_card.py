import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from model_store import SHIPPED_STORE, Draft, Manifest, ModelStore, Provenance, model_card
from tests.networks import network


def manifest(**options: Any) -> Manifest:
    """That of a version that is not stored."""
    return Manifest.model_validate(
        {
            "name": "wave",
            "task": "style",
            "version": 3,
            "network": network("c3s1-4,c3s1-3").spec,
            "scale": 1,
            "tileable": True,
            "halo": 2,
            "parameters": 1234,
            "digest": f"sha256:{'a' * 64}",
            "golden_digest": f"sha256:{'b' * 64}",
            "created": datetime(2026, 1, 2, tzinfo=UTC),
        }
        | options
    )


def front_matter(card: str) -> dict[str, Any]:
    found = re.match(r"---\n(.*?)\n---\n\n# ", card, re.DOTALL)
    assert found
    metadata: dict[str, Any] = yaml.safe_load(found[1])
    return metadata


def test_card_of_a_style_says_what_it_is_and_how_it_is_used() -> None:
    provenance = Provenance(
        data="ten photographs", style_image="Hokusai, *The Wave*", losses={"tv": 0.25, "gradient": 2}
    )
    card = model_card(manifest(title="The Wave", provenance=provenance, description="Blue lines."), preview=True)
    assert front_matter(card) == {
        "license": "apache-2.0",
        "library_name": "pastiche",
        "pipeline_tag": "image-to-image",
        "tags": ["style-transfer", "fast-neural-style", "perceptual-loss", "safetensors"],
    }
    for expected in (
        "# The Wave\n\nBlue lines.\n\n![",
        "](preview.png)",
        "| version | `wave@3`, 2026-01-02 |",
        "| painting | Hokusai, *The Wave* |",
        "| tv | 0.25 |",
        "/v1/stylize/wave -o painted.jpg",
        "- Training data: ten photographs.",
        "The weights are licensed under Apache-2.0.",
    ):
        assert expected in card
    assert "gradient" not in card


def test_card_of_an_enlarging_network_has_its_scores_as_the_hub_reads_them() -> None:
    metrics = {"psnr_set5": 31.61, "ssim_set5": 0.8877, "grid_set5": 2.4, "psnr_my_photos": 30.0, "seconds": 1.0}
    provenance = Provenance(data="photographs", metrics=metrics)
    card = model_card(manifest(task="super-resolution", scale=4, provenance=provenance), preview=False)
    (index,) = front_matter(card)["model-index"]
    assert index["name"] == "wave"
    assert [result["dataset"]["name"] for result in index["results"]] == ["set5", "my_photos"]
    assert index["results"][0]["metrics"] == [{"type": "psnr", "value": 31.61}, {"type": "ssim", "value": 0.8877}]
    assert "| set5 | 31.61 | 0.8877 | 2.4 |\n| my_photos | 30 |  |  |" in card
    assert "/v1/upscale/4?model=wave" in card
    assert "preview.png" not in card


@pytest.mark.parametrize(
    ("spdx", "metadata"),
    [
        ("CC-BY-SA-4.0", {"license": "cc-by-sa-4.0"}),
        ("GPL-3.0-or-later", {"license": "gpl-3.0"}),
        ("LicenseRef-Mine", {"license": "other", "license_name": "LicenseRef-Mine"}),
        ("", {"license": "unknown"}),
    ],
)
def test_licence_has_the_name_that_the_hub_knows(spdx: str, metadata: dict[str, str]) -> None:
    found = front_matter(model_card(manifest(license=spdx), preview=False))
    assert {name: value for name, value in found.items() if name.startswith("license")} == metadata


def test_missing_licence_is_said_in_words() -> None:
    card = model_card(manifest(license=""), preview=False)
    assert "| licence | not stated |" in card
    assert "No licence of the weights is stated." in card


@pytest.mark.parametrize(
    ("recipe", "said"),
    [
        ({"feature_weight": 0.1}, "is no evidence"),
        ({"perceptual_weight": 0.1}, "is no evidence"),
        ({"teacher": {"teacher": "large.safetensors"}}, "is no evidence"),
        ({}, "stays soft"),
        ({}, "noise and JPEG artefacts are enlarged"),
        ({"degradation": "bicubic"}, "noise and JPEG artefacts are enlarged"),
        ({"degradation": "photo"}, "learned from damaged photographs"),
    ],
)
def test_limits_follow_from_how_it_was_trained(recipe: dict[str, Any], said: str) -> None:
    card = model_card(
        manifest(task="super-resolution", scale=2, tileable=False, provenance=Provenance(data="", recipe=recipe)),
        preview=False,
    )
    assert said in card
    assert "memory grows with the image" in card


def test_noise_is_part_of_the_network() -> None:
    noisy = network("c3s1-4,c3s1-3", norm="none", noise_channels=2).spec
    card = model_card(manifest(network=noisy), preview=False)
    assert "`c3s1-4,c3s1-3`, normalisation: none, channels of noise: 2" in card
    assert "channels of noise" not in model_card(manifest(), preview=False)


def test_texts_of_a_manifest_do_not_break_the_metadata_or_the_tables() -> None:
    provenance = Provenance(data="a | b", style_image="one\n| two")
    card = model_card(manifest(title="a\n---\nb: [", license="x: ]\ny", provenance=provenance), preview=False)
    assert front_matter(card)["license_name"] == "x: ]\ny"
    assert "# a --- b: [\n" in card
    assert "| painting | one \\| two |" in card


def test_shipped_networks_have_cards() -> None:
    store = ModelStore(SHIPPED_STORE)
    for name in store.names():
        card = store.card(name)
        assert front_matter(card)["license"] == "apache-2.0"
        assert "not stated" not in card


def test_draft_without_provenance_has_a_card(tmp_path: Path) -> None:
    ModelStore(tmp_path).publish(network("c3s1-4,c3s1-3"), Draft(name="wave", task="style"))
    assert front_matter(ModelStore(tmp_path).card("wave"))["license"] == "apache-2.0"


def test_a_card_has_every_command_of_a_training() -> None:
    card = ModelStore(SHIPPED_STORE).card("x2-photo")
    commands = [line.split()[2] for line in card.splitlines() if line.startswith("$ pastiche-train")]
    assert commands == ["answers", "super-resolution"]
