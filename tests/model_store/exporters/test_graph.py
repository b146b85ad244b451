import pytest
import torch

from model_store.errors import ExportFailed
from model_store.exporters.graph import ImageGraph, answers, require_equal, trace
from model_store.networks.transform import TransformNetwork
from tests.model_store.exporters.exports import SMALL, TINY
from tests.networks import network

NETWORKS = {
    "native": network(SMALL),
    "native, instance": network(SMALL, norm="instance"),
    "same": network(SMALL, norm="instance", form="same"),
    "paper": network(SMALL, form="paper"),
    "tensorflow": network(SMALL, norm="instance", form="tensorflow"),
    "thumbnail": network(SMALL, norm="thumbnail", thumbnail=64),
    "x4, skip": network("c3s1-4,R4,u4,u4,c9s1-3", norm="none", skip=True),
    "x4, noise": network("c3s1-4,R4,c3s1-48,p4", norm="none", skip=True, noise_channels=3),
    "x8, shuffled": network("c3s1-4,R4,c3s1-192,p8", norm="none", skip=True),
}


@pytest.mark.parametrize("subject", NETWORKS.values(), ids=NETWORKS)
def test_graph_gives_the_networks_answers_at_any_size(subject: TransformNetwork) -> None:
    graph = ImageGraph(subject)
    for image, expected in answers(subject):
        with torch.no_grad():
            require_equal(graph(image), expected, "it")


@pytest.mark.parametrize("subject", [network(TINY, norm="instance", form="same"), NETWORKS["x4, noise"]])
def test_traced_graph_has_no_size_of_its_own(subject: TransformNetwork) -> None:
    """Of what the tests of PT2 files do not trace."""
    program = trace(subject, "wave@1").module()
    for image, expected in answers(subject):
        with torch.no_grad():
            require_equal(program(image), expected, "it")


def test_sizes_of_a_graph_are_no_multiples_of_four_and_differ() -> None:
    shapes = [tuple(image.shape) for image, _ in answers(NETWORKS["native"])]
    assert len(set(shapes)) == len(shapes) > 3
    assert any(height % 2 and width % 2 for _, _, height, width in shapes)


def test_network_that_is_no_graph_is_refused() -> None:
    class Branching(TransformNetwork):
        def transform(self, plane: torch.Tensor, statistics: torch.Tensor | None = None) -> torch.Tensor:
            return super().transform(plane, statistics) if plane.mean() > 0.5 else plane

    with pytest.raises(ExportFailed, match="wave@1 cannot become a graph for images of any size: "):
        trace(Branching(network(SMALL).spec).eval(), "wave@1")
    with pytest.raises(ExportFailed, match="its native form does not"):
        trace(network(SMALL, norm="thumbnail", form="same"), "wave@1")


def test_another_answer_is_refused() -> None:
    expected = torch.rand(1, 3, 5, 7)
    require_equal(expected + 1e-6, expected, "it")
    with pytest.raises(ExportFailed, match=r"it is not written: an answer of 1×3×5×7 differs by 1\.00e-02"):
        require_equal(expected + 0.01, expected, "it")
    with pytest.raises(ExportFailed, match=r"it is not written: where the answer is 1×3×5×7, it gives \(1, 3, 4, 4\)"):
        require_equal(expected[..., :4, :4], expected, "it")
    with pytest.raises(ExportFailed, match="differs by nan"):
        require_equal(expected * torch.nan, expected, "it")
