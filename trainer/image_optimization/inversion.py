"""Images reconstructed from one layer of a loss network: figures 3 and 4 of the paper.

From noise, an image is optimised to have a photograph's features in one layer (content), or a painting's Gram matrix
(style), with a small weight of total variation.
"""

from pathlib import Path
from typing import Literal

from pydantic import Field
from torch import Tensor

from model_store.durable import replace_file
from trainer.errors import TrainerError
from trainer.image_optimization.gatys import noise
from trainer.image_optimization.minimize import OptimizationConfig, minimize
from trainer.loss_network import LossNetwork, load_loss_network
from trainer.losses import StyleObjective
from trainer.objective import ImageObjective
from trainer.pictures import LabelledPicture, file_digest, labelled_row, load_painting, load_photograph
from trainer.run_folder import Run, png

Kind = Literal["content", "style"]

LAYERS: dict[Kind, tuple[str, ...]] = {
    "content": ("relu2_2", "relu3_3", "relu4_3", "relu5_1", "relu5_3"),
    "style": ("relu1_2", "relu2_2", "relu3_3", "relu4_3"),
}
"""The layers of the paper's figures 3 and 4; a loss network may have only some of them."""

_READ = {"content": load_photograph, "style": load_painting}
"""How an image of each kind is read."""


class InvertConfig(OptimizationConfig):
    """The options of `invert`."""

    content: Path | None = Field(None, description="a photograph, for feature reconstruction (the paper's figure 3)")
    style_image: Path | None = Field(None, description="a painting, for style reconstruction (the paper's figure 4)")
    run: Path = Field(Path("runs/invert"), description="folder for the pictures and the states")
    layers: tuple[str, ...] = Field((), description="of the loss network (default: the paper's, where it has them)")
    image_size: int = Field(256, ge=32, description="longer side to which the image is reduced")
    tv_weight: float = Field(0.3, ge=0, description="of total variation, per pixel and channel")


def invert(config: InvertConfig, *, resume: bool = False) -> str:
    """Write content.png and style.png, a row of pictures each, for those that are given; returns what to print.

    Raises TrainerError where neither a photograph nor a painting is given.
    """
    if not (config.content or config.style_image):
        raise TrainerError("--content takes a photograph, --style-image a painting; one of them is needed, or both")
    hardware = config.fp32_hardware()
    images = {kind: (path, _READ[kind](path, config.image_size, hardware)) for kind, path in _files(config).items()}
    loss_network = load_loss_network(config.loss_network, config.loss_layout)
    hardware.place(loss_network)
    written = []
    for kind, (path, image) in images.items():
        row = _reconstructions(config, kind, path, image, loss_network, resume)
        replace_file(config.run / f"{kind}.png", png(labelled_row(row)))
        written.append(f"{config.run}/{kind}.png")
    return ", ".join(written)


def _files(config: InvertConfig) -> dict[Kind, Path]:
    """Those that are given."""
    given: dict[Kind, Path | None] = {"content": config.content, "style": config.style_image}
    return {kind: path for kind, path in given.items() if path}


def _reconstructions(
    config: InvertConfig, kind: Kind, path: Path, image: Tensor, loss_network: LossNetwork, resume: bool
) -> list[LabelledPicture]:
    """The image, and its reconstruction from each layer, labelled."""
    row = [(path.stem, image[0])]
    for layer in config.layers or _available_layers(kind, loss_network):
        objective = _objective(kind, layer, image, loss_network, config.tv_weight)
        run = Run(config.run / kind / layer)
        fingerprint = f"{file_digest(path)} {layer} {loss_network.source}"
        has_state = resume and run.state_file.exists()
        point = minimize(config, objective, noise(image, config.seed), run, fingerprint, resume=has_state, name=layer)
        row.append((layer, point.image[0]))
    return row


def _available_layers(kind: Kind, loss_network: LossNetwork) -> tuple[str, ...]:
    found = tuple(layer for layer in LAYERS[kind] if layer in loss_network.index)
    return found or tuple(loss_network.layout.style_layers)


def _objective(kind: Kind, layer: str, image: Tensor, loss_network: LossNetwork, tv_weight: float) -> ImageObjective:
    """Equation 5 with content or style weight 0, and the other 1 for one layer; `image` is photograph and painting."""
    objective = StyleObjective(
        loss_network(image, [layer]),
        layer,
        {layer: 1.0},
        content_weight=float(kind == "content"),
        style_weight=float(kind == "style"),
        tv_weight=tv_weight,
    )
    return ImageObjective(objective, loss_network, image)
