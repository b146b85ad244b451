"""Scores style networks by the objective of their training (equation 5), on photographs that are given."""

import math
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from statistics import fmean

import torch
from torch import Tensor

from model_store import Network
from trainer.blotches import blotch_energy
from trainer.data import image_files
from trainer.errors import DataError, LossNetworkError
from trainer.evaluate import luma
from trainer.hardware import Hardware
from trainer.loss_network import LossNetwork
from trainer.objective import ImageObjective, StyleWeights, nearest_features, style_objective
from trainer.pictures import load_scaled
from trainer.spectrum import WINDOW, flat_texture
from trainer.tones import lost_tones

HARDWARE = Hardware(torch.device("cpu"), torch.float32)
"""Networks are scored in fp32 on the CPU, so that scores of all machines compare."""


class StyleScorer:
    """Equation 5 (see `StyleObjective`) for one painting and one loss network, lower is better."""

    def __init__(self, loss_network: LossNetwork, painting: Tensor, weights: StyleWeights) -> None:
        """`painting`: RGB (1, 3, H, W) in [0, 1], on HARDWARE."""
        self._loss_network = loss_network
        self._objective = style_objective(weights, loss_network, painting)
        self._nearest = nearest_features(self._objective, loss_network, painting)

    @torch.inference_mode()
    def terms(self, network: Network, photograph: Path, longer_side: int) -> dict[str, float]:
        """The weighted terms for a photograph, resized to `longer_side` pixels and not tiled; their sum is `total`.

        Also the `texture` of flat regions, in levels of 256, and its `peak` in dB (see `flat_texture`), if no side has
        less than 64 pixels, `blotches`, the root of their mean square (see `blotch_energy`) in levels of 256, `tones`,
        the share of the photograph's contrast that is lost (see `lost_tones`), and `neighbours`, how far places are
        from the painter's (see `NearestFeatures`). Raises DataError where the photograph is then too small for the loss
        network.
        """
        image = load_scaled(photograph, longer_side, HARDWARE)
        painted = network(image)
        try:
            terms = ImageObjective(self._objective, self._loss_network, image).terms(painted)
        except LossNetworkError as error:
            raise DataError(f"{photograph} with a longer side of {longer_side} pixels: {error}") from error
        blotches = 255 * math.sqrt(blotch_energy(painted, image).item())
        near = self._nearest.distance(self._loss_network(painted, self._nearest.layers))
        measured = {"blotches": blotches, "tones": lost_tones(painted, image).item(), "neighbours": near.item()}
        return terms | {"total": math.fsum(terms.values())} | measured | _texture(painted, image)

    def mean(self, network: Network, folder: Path, longer_side: int) -> dict[str, float]:
        """The means of `terms` over the images of a folder. Raises DataError where there are none, as `image_files`."""
        found: dict[str, list[float]] = defaultdict(list)
        for path in image_files(folder, "--images"):
            for name, value in self.terms(network, path, longer_side).items():
                found[name].append(value)
        return {name: fmean(values) for name, values in found.items()}


def format_terms(terms: Mapping[str, float]) -> str:
    """Terms on one line, those of the style layers as their sum."""
    style = sum(value for name, value in terms.items() if name.startswith("style_"))
    line = f"total {terms['total']:.3f}  content {terms['content']:.3f}  style {style:.3f}  tv {terms['tv']:.4f}"
    line += f"  blotches {terms['blotches']:.1f}  tones lost {terms['tones']:.3f}  neighbours {terms['neighbours']:.3f}"
    return line + (f"  texture {terms['texture']:.1f}, {terms['peak']:.1f} dB" if "texture" in terms else "")


def _texture(painted: Tensor, photograph: Tensor) -> dict[str, float]:
    planes = [luma(image)[0, 0] for image in (painted, photograph)]
    if min(planes[0].shape) < WINDOW:
        return {}
    texture = flat_texture(*planes)
    return {"texture": texture.deviation, "peak": texture.peak}
