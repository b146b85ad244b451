from pathlib import Path

import pytest
import torch
from torch import nn

from model_store import NetworkSpec, TransformNetwork
from tests.trainer.samples import loss_network_file, photograph, photographs
from trainer.errors import DataError
from trainer.loss_network import load_loss_network
from trainer.objective import StyleWeights
from trainer.pictures import load_painting
from trainer.style_score import HARDWARE, StyleScorer, format_terms
from trainer.tones import KEPT


def identity() -> TransformNetwork:
    """A network whose output is its input."""
    network = TransformNetwork(NetworkSpec(architecture="c3s1-3", norm="none", output="linear", skip=True))
    for parameter in network.parameters():
        nn.init.zeros_(parameter)
    return network.eval()


def judge(folder: Path, painting: Path, weights: StyleWeights | None = None) -> StyleScorer:
    network = load_loss_network(str(loss_network_file(folder / "loss.safetensors")))
    return StyleScorer(network, load_painting(painting, 64, HARDWARE), weights or StyleWeights())


def test_the_painting_given_back_has_neither_content_nor_style_loss(tmp_path: Path) -> None:
    painting = photograph(tmp_path / "painting.png", 64, 64, seed=9)
    terms = judge(tmp_path, painting).terms(identity(), painting, 64)
    assert terms["content"] == 0
    assert all(value == pytest.approx(0, abs=1e-9) for name, value in terms.items() if name.startswith("style_"))
    assert terms["total"] == pytest.approx(terms["tv"], abs=1e-8)


def test_blotches_are_measured_in_levels(tmp_path: Path) -> None:
    photo, reddened = photograph(tmp_path / "photo.png", 64, 64, seed=1), identity()
    scorer = judge(tmp_path, photo)
    assert scorer.terms(reddened, photo, 64)["blotches"] == 0
    with torch.no_grad():
        reddened.layers[0].get_parameter("conv.weight")[0, :, 1, 1] = 3.0
    terms = scorer.terms(reddened, photo, 64)
    assert 1 < terms["blotches"] < 256
    assert f"blotches {terms['blotches']:.1f}" in format_terms(terms)


def test_tones_are_the_share_of_contrast_that_is_lost(tmp_path: Path) -> None:
    photo, faded = photograph(tmp_path / "photo.png", 64, 64, seed=1), identity()
    scorer = judge(tmp_path, photo)
    assert scorer.terms(faded, photo, 64)["tones"] == 0
    with torch.no_grad():
        faded.layers[0].get_parameter("conv.weight")[..., 1, 1] = -0.45 * torch.eye(3)  # in [-1, 1]: a tenth is left
    terms = scorer.terms(faded, photo, 64)
    assert terms["tones"] == pytest.approx(KEPT - 0.1, rel=0.1)
    assert f"tones lost {terms['tones']:.3f}" in format_terms(terms)


def test_a_folder_is_judged_by_the_mean_of_its_photographs_at_one_size(tmp_path: Path) -> None:
    painting = photograph(tmp_path / "painting.png", 64, 64, seed=9)
    folder = photographs(tmp_path / "photos", count=3, width=60, height=48)
    one = judge(tmp_path, painting)
    single = [one.terms(identity(), path, 60) for path in sorted(folder.iterdir())]
    mean = one.mean(identity(), folder, 60)
    assert mean.keys() == single[0].keys()
    for name, value in mean.items():
        assert value == pytest.approx(sum(terms[name] for terms in single) / 3)
    assert one.mean(identity(), folder, 40)["total"] != pytest.approx(mean["total"])


def test_a_photograph_that_is_too_small_for_the_loss_network_is_named(tmp_path: Path) -> None:
    painting = photograph(tmp_path / "painting.png", 64, 64, seed=9)
    panorama = photograph(tmp_path / "wide.png", 200, 20)
    with pytest.raises(
        DataError, match=r"wide\.png with a longer side of 60 pixels: 60×6 pixels are too few for the l"
    ):
        judge(tmp_path, painting).terms(identity(), panorama, 60)


def test_weights_weigh_their_terms(tmp_path: Path) -> None:
    painting = photograph(tmp_path / "painting.png", 64, 64, seed=9)
    photo = photograph(tmp_path / "photo.png", 60, 48, seed=1)
    blurred = identity()
    with torch.no_grad():
        blurred.layers[0].get_parameter("conv.bias").fill_(0.2)
    even = StyleWeights(content_weight=1, style_weight=1, tv_weight=1)
    uneven = StyleWeights(content_weight=2, style_weight=3, tv_weight=4)
    before = judge(tmp_path, painting, even).terms(blurred, photo, 60)
    after = judge(tmp_path, painting, uneven).terms(blurred, photo, 60)
    for name, value in before.items():
        factor = {"content": 2, "tv": 4, "blotches": 1, "tones": 1, "neighbours": 1}.get(name, 3)
        if name != "total":
            assert after[name] == pytest.approx(factor * value, rel=1e-5)
    assert min(before["content"], before["tv"], before["style_relu1_2"], before["style_relu2_2"]) > 0
    assert format_terms(after).startswith(f"total {after['total']:.3f}  content {after['content']:.3f}")
