"""How good a style network is: the objective of its training, on photographs that it has never seen."""

import math
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

import torch

from model_store import TransformNetwork
from trainer.data import image_files
from trainer.hardware import Hardware
from trainer.loss_network import LossNetwork
from trainer.objective import ImageObjective, StyleWeights, style_objective
from trainer.pictures import painting, resized

HARDWARE = Hardware(torch.device("cpu"), torch.float32)
"""Networks are judged as they are stored."""


class Judge:
    """Judges paintings of photographs beside one painting, by one loss network (Equation 5, see `StyleObjective`)."""

    def __init__(self, loss_network: LossNetwork, style_image: Path, style_size: int, weights: StyleWeights) -> None:
        self._loss_network = loss_network
        self._objective = style_objective(weights, loss_network, painting(style_image, style_size, HARDWARE))

    @torch.inference_mode()
    def terms(self, network: TransformNetwork, photograph: Path, longer_side: int) -> dict[str, float]:
        """The weighted terms for one photograph, at that size, painted as a whole, and their sum as `total`."""
        image = resized(photograph, longer_side, HARDWARE)
        terms = ImageObjective(self._objective, self._loss_network, image).terms(network(image))
        return terms | {"total": math.fsum(terms.values())}

    def mean(self, network: TransformNetwork, folder: Path, longer_side: int) -> dict[str, float]:
        """The mean terms over a folder of images, brought to that longer side; raises DataError as `image_files`."""
        sums: dict[str, float] = defaultdict(float)
        files = image_files(folder, "--images")
        for path in files:
            for name, value in self.terms(network, path, longer_side).items():
                sums[name] += value / len(files)
        return dict(sums)


def shown(terms: Mapping[str, float]) -> str:
    """Terms on one line; the style layers as one, their sum."""
    style = sum(value for name, value in terms.items() if name.startswith("style_"))
    return f"total {terms['total']:.3f}  content {terms['content']:.3f}  style {style:.3f}  tv {terms['tv']:.4f}"
