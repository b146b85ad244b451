"""Equation 5 of the paper for one painting and one photograph, from a loss network and the losses."""

import math
from collections.abc import Mapping

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from trainer.errors import TrainerError
from trainer.loss_network import LossNetwork
from trainer.losses import StyleObjective
from trainer.neighbours import NearestFeatures


class StyleWeights(BaseModel):
    """All options of equation 5; training, optimisation and `judge` share them."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    content_weight: float = Field(1.0, ge=0, description="of the content loss, a fraction of the painting's variance")
    style_weight: float = Field(5.0, ge=0, description="of the style loss, a fraction of the painting's Gram energy")
    tv_weight: float = Field(0.5, ge=0, description="of total variation, per pixel and channel")
    content_layer: str = Field("", description="layer of the content loss (default: of the layout; VGG-16: relu3_3)")
    style_layers: str = Field("", description="layers of the style loss and weights: relu1_2:0.3,relu2_2:1")
    centred: bool = Field(True, description="Gram matrices about the painting's mean features (paper: false)")


@torch.no_grad()
def style_objective(weights: StyleWeights, loss_network: LossNetwork, painting: Tensor) -> StyleObjective:
    """Equation 5 for a painting, RGB (1, 3, H, W) in [0, 1]; without layers of its own it takes the layout's.

    Raises TrainerError for `style_layers` that cannot be parsed, LossNetworkError for a layer that does not exist.
    """
    layout = loss_network.layout
    content_layer = weights.content_layer or layout.content_layer
    style_layers = _layer_weights(weights.style_layers) if weights.style_layers else layout.style_layers
    return StyleObjective(
        loss_network(painting, {content_layer, *style_layers}),
        content_layer,
        style_layers,
        content_weight=weights.content_weight,
        style_weight=weights.style_weight,
        tv_weight=weights.tv_weight,
        centred=weights.centred,
    )


@torch.no_grad()
def nearest_features(objective: StyleObjective, loss_network: LossNetwork, painting: Tensor) -> NearestFeatures:
    """What the nearest places of a painting, RGB (1, 3, H, W) in [0, 1], are found in: its two last style layers."""
    return NearestFeatures(loss_network(painting, list(objective.style_layers)[-2:]))


class ImageObjective:
    """Equation 5 as a function of the image: the painting and the photograph are fixed."""

    def __init__(self, objective: StyleObjective, loss_network: LossNetwork, photograph: Tensor) -> None:
        """`photograph`: RGB (1, 3, H, W) in [0, 1]; its content features are computed once, here."""
        self.objective, self.loss_network, self.photograph = objective, loss_network, photograph
        with torch.no_grad():
            self._content = loss_network(photograph, [objective.content_layer])[objective.content_layer]

    def __call__(self, image: Tensor) -> Mapping[str, Tensor]:
        """The weighted terms at an image of the photograph's size, with gradients."""
        return self.objective(image, self.loss_network(image, self.objective.layers), self._content)

    @torch.no_grad()
    def terms(self, image: Tensor) -> dict[str, float]:
        """The weighted terms as numbers, without gradients."""
        return {name: term.item() for name, term in self(image).items()}

    def value(self, image: Tensor) -> float:
        """The objective: the sum of the weighted terms."""
        return math.fsum(self.terms(image).values())


def _layer_weights(text: str) -> dict[str, float]:
    """relu1_2:0.3,relu2_2 → {"relu1_2": 0.3, "relu2_2": 1.0}; raises TrainerError for anything else."""
    expected = f"--style-layers {text!r}: expected layers and weights, relu1_2:0.3,relu2_2:1"
    try:
        pairs = [part.strip().partition(":") for part in text.split(",")]
        weights = {layer: float(weight or 1.0) for layer, _, weight in pairs}
    except ValueError as error:
        raise TrainerError(expected) from error
    if not all(0 <= weight < math.inf for weight in weights.values()) or not any(weights.values()):
        raise TrainerError(f"{expected}; weights are finite, none is below 0, and one is above")
    return weights
