from pathlib import Path

import pytest
import torch

from tests.trainer.samples import loss_network_file
from trainer.errors import TrainerError
from trainer.loss_network import LAYOUTS, LossNetwork, load_loss_network
from trainer.losses import gram_matrix
from trainer.objective import ImageObjective, StyleWeights, style_objective


def weights(**changes: object) -> StyleWeights:
    return StyleWeights.model_validate(changes)


def pictures() -> tuple[torch.Tensor, torch.Tensor]:
    """A photograph and a painting, smooth random images (1, 3, 48, 48)."""
    coarse = torch.rand(2, 3, 6, 6, generator=torch.Generator().manual_seed(0))
    both = torch.nn.functional.interpolate(coarse, size=(48, 48), mode="bicubic").clamp(0, 1)
    return both[:1], both[1:]


def test_the_layers_are_those_of_the_layout_unless_others_are_asked_for(tmp_path: Path) -> None:
    network = load_loss_network(str(loss_network_file(tmp_path / "l.safetensors")))
    _, painting = pictures()
    usual = style_objective(weights(), network, painting)
    assert (usual.content_layer, usual.style_layers) == (network.layout.content_layer, network.layout.style_layers)
    other = style_objective(weights(content_layer="relu2_2", style_layers="relu1_1:0.3, relu3_1"), network, painting)
    assert (other.content_layer, other.style_layers) == ("relu2_2", {"relu1_1": 0.3, "relu3_1": 1.0})
    with pytest.raises(TrainerError, match="expected layers and weights"):
        style_objective(weights(style_layers="relu1_1:much"), network, painting)


def test_the_photograph_has_no_content_loss_and_the_painting_no_style_loss(tmp_path: Path) -> None:
    network = load_loss_network(str(loss_network_file(tmp_path / "l.safetensors")))
    photo, painting = pictures()
    objective = ImageObjective(style_objective(weights(), network, painting), network, photo)
    at_photo, at_painting = objective.terms(photo), objective.terms(painting)
    assert at_photo["content"] == 0 < at_painting["content"]
    assert sum(v for name, v in at_painting.items() if name.startswith("style")) == pytest.approx(0, abs=1e-9)
    assert objective.value(photo) == pytest.approx(sum(at_photo.values()))


def test_torchvisions_vgg16_has_the_scale_of_losses_of_the_distilled_one(tmp_path: Path) -> None:
    """With random weights the Gram energies differ by more than 100, the terms by less than 10."""
    photo, painting = pictures()
    noise = torch.rand(1, 3, 48, 48, generator=torch.Generator().manual_seed(1))
    distilled = load_loss_network(str(loss_network_file(tmp_path / "l.safetensors", width=16)))
    terms, energies = [], []
    for network in (load_loss_network("random"), distilled):
        objective = ImageObjective(style_objective(weights(), network, painting), network, photo)
        at = objective.terms(noise)
        terms.append((at["content"], sum(value for name, value in at.items() if name.startswith("style"))))
        features = network(painting, network.layout.style_layers)
        energies.append(sum(gram_matrix(value).square().sum().item() for value in features.values()))
    assert max(energies) > 100 * min(energies)
    for one, other in zip(*terms, strict=True):
        assert 1 / 10 < one / other < 10


def test_the_scale_of_vgg16s_features_does_not_matter() -> None:
    """Caffe's VGG-16 expects values from 0 to 255, torchvision's standardised ones; the objective is the same."""
    photo, painting = pictures()
    state = {f"features.{key}": value for key, value in load_loss_network("random").features.state_dict().items()}
    scaled = state | {"features.0.weight": 57.0 * state["features.0.weight"]}  # without biases, all features × 57
    noise = torch.rand(1, 3, 48, 48, generator=torch.Generator().manual_seed(1))
    found = []
    for each in (state, scaled):
        network = LossNetwork(LAYOUTS["vgg16"], each, "random")
        found.append(ImageObjective(style_objective(weights(), network, painting), network, photo).terms(noise))
    assert found[1] == pytest.approx(found[0], rel=1e-3)
