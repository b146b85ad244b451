import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn
from torch.nn import functional as F

from model_store import ImportedNetwork, ImportedSpec, for_inference

FACTS = {
    "package": "spandrel",
    "architecture": "Doubling",
    "scale": 2,
    "tiles": "exact",
    "halo": 1,
    "stride": 1,
    "values_per_pixel": 24,
    "half_precision": True,
    "parameters": 84,
}


class Doubling:
    """Enlarges ×2 by one convolution."""

    def __init__(self) -> None:
        self.model = nn.Conv2d(3, 3, 3, padding=1)

    def __call__(self, image: Tensor) -> Tensor:
        enlarged: Tensor = F.interpolate(self.model(image), scale_factor=2.0, mode="nearest")
        return enlarged


def network(**facts: object) -> ImportedNetwork:
    return ImportedNetwork(ImportedSpec.model_validate(FACTS | facts), Doubling())


def test_it_has_the_contract_of_our_networks() -> None:
    subject = network()
    assert (subject.scale, subject.stride, subject.pads_planes, subject.needs_statistics) == (2, 1, True, False)
    assert subject.halos(50) == (0, 0)
    output = subject(torch.rand(2, 3, 5, 7) * 9)
    assert output.shape == (2, 3, 10, 14)
    assert 0 <= output.min() <= output.max() <= 1
    assert not output.requires_grad


@pytest.mark.parametrize(
    ("tiles", "tileable", "whole"), [("exact", True, False), ("overlapping", False, False), ("none", False, True)]
)
def test_large_images_are_cut_unless_a_seam_would_be_seen(tiles: str, tileable: bool, whole: bool) -> None:
    spec = network(tiles=tiles).spec
    assert (spec.tileable, spec.needs_whole_image) == (tileable, whole)


@pytest.mark.parametrize(("values", "share"), [(24, 1.0), (48, 1.0), (480, 0.1)])
def test_whole_images_are_smaller_where_each_pixel_takes_more_memory(values: int, share: float) -> None:
    assert network(values_per_pixel=values).spec.share_of_whole_pixels == pytest.approx(share)


def test_precision_is_that_which_reproduces_the_output() -> None:
    image = torch.rand(1, 3, 6, 6)
    subject = network()
    half = for_inference(subject, torch.bfloat16)
    assert next(half.parameters()).dtype == torch.bfloat16
    assert next(subject.parameters()).dtype == torch.float32
    assert half(image).dtype == torch.float32
    assert torch.allclose(half(image), subject(image), atol=0.02)
    assert next(for_inference(network(half_precision=False), torch.bfloat16).parameters()).dtype == torch.float32


@pytest.mark.parametrize(
    "facts", [{"package": "other"}, {"scale": 0}, {"channels": 2}, {"stride": 0}, {"values_per_pixel": 0}]
)
def test_facts_that_cannot_be_are_refused(facts: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        network(**facts)
