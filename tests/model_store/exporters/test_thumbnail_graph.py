import pytest
import torch

from model_store import area_reduced
from model_store.exporters.thumbnail_graph import ThumbnailGraph
from model_store.networks.reduction import to_measure

SIDES = [(61, 83), (40, 40), (7, 300), (301, 9), (1, 1), (2, 64), (130, 77), (17, 65), (50, 400), (1, 2000), (700, 600)]
"""Photographs, icons, strips either way, some of which are mirrored or cut into squares, and a pixel."""


@pytest.mark.parametrize("side", [16, 64, 100, 256])
@pytest.mark.parametrize(("height", "width"), SIDES)
def test_it_is_the_thumbnail_of_the_service(side: int, height: int, width: int) -> None:
    cut_out = torch.rand(1, 3, height, width)
    cut_out[..., width // 3 :] = 1.0
    for image in (torch.rand(2, 3, height, width), torch.full((1, 3, height, width), 0.3), cut_out):
        expected = to_measure(area_reduced(image, side))
        found = ThumbnailGraph(side)(image)
        assert found.shape == expected.shape
        assert (found - expected).abs().max() < 1e-6
