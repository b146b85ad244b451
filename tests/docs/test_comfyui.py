"""The nodes for ComfyUI, called as ComfyUI calls them: by their mappings, with tensors (batch, height, width, 3)."""

import runpy
from typing import Any

import numpy as np
import pytest
import torch

import pastiche
from tests.docs.documents import ROOT
from tests.service.imaging.images import photo
from tests.service.live import Live

NODES = ROOT / "docs" / "examples" / "comfyui" / "pastiche_nodes.py"
INPUTS = {"IMAGE": torch.Tensor, "MASK": torch.Tensor, "STRING": str, "FLOAT": float, "BOOLEAN": bool}


@pytest.fixture(scope="module")
def nodes() -> dict[str, Any]:
    return runpy.run_path(str(NODES))


def execute(nodes: dict[str, Any], name: str, **given: object) -> torch.Tensor:
    """A node with these inputs, and its defaults for the others."""
    kind = nodes["NODE_CLASS_MAPPINGS"][name]
    types = kind.INPUT_TYPES()
    inputs = {key: options[0]["default"] for key, (_, *options) in types["required"].items() if options}
    for key, value in given.items():
        declared = {**types["required"], **types.get("optional", {})}[key][0]
        assert isinstance(value, INPUTS[declared])
    (made,) = getattr(kind(), kind.FUNCTION)(**{**inputs, **given})
    assert kind.RETURN_TYPES == ("IMAGE",)
    assert isinstance(made, torch.Tensor)
    assert made.dtype == torch.float32
    return made


def batch(*seeds: int) -> torch.Tensor:
    return torch.from_numpy(np.stack([photo(seed) for seed in seeds])).float() / 255


def test_batch_is_painted_image_by_image(nodes: dict[str, Any], live: Live) -> None:
    made = execute(nodes, "PasticheStylize", image=batch(1, 2), style="udnie", server=live.url)
    assert made.shape == (2, 24, 32, 3)
    with pastiche.Client(live.url, verify=False) as client:
        for image, seed in zip(made, (1, 2), strict=True):
            expected = client.stylize(photo(seed), "udnie", format="png").image()
            assert np.array_equal((image * 255).round().to(torch.uint8).numpy(), np.array(expected))


def test_options_and_mask_are_passed_on(nodes: dict[str, Any], live: Live) -> None:
    images = batch(1, 2)
    given: dict[str, Any] = {"image": images, "server": live.url}
    assert torch.allclose(execute(nodes, "PasticheStylize", strength=0.0, **given), images, atol=1e-6)
    black = torch.zeros(1, 24, 32)
    assert torch.allclose(execute(nodes, "PasticheStylize", mask=black, **given), images, atol=1e-6)
    assert not torch.allclose(execute(nodes, "PasticheStylize", mask=1 - black, **given), images, atol=1e-2)


def test_values_beyond_the_range_are_cut_off(nodes: dict[str, Any], live: Live) -> None:
    made = execute(nodes, "PasticheStylize", image=3 * batch(1) - 1, strength=0.0, server=live.url)
    assert torch.allclose(made, (3 * batch(1) - 1).clamp(0, 1), atol=0.003)


def test_images_are_enlarged(nodes: dict[str, Any], live: Live) -> None:
    made = execute(nodes, "PasticheUpscale", image=batch(1), scale=2.5, model="x4", server=live.url)
    assert made.shape == (1, 60, 80, 3)


def test_refusal_is_told_to_the_user(nodes: dict[str, Any], live: Live) -> None:
    with pytest.raises(pastiche.errors.UnknownModel, match="great-wave"):
        execute(nodes, "PasticheStylize", image=batch(1), style="none", server=live.url)


def test_every_node_has_a_name(nodes: dict[str, Any]) -> None:
    assert nodes["NODE_DISPLAY_NAME_MAPPINGS"].keys() == nodes["NODE_CLASS_MAPPINGS"].keys()
