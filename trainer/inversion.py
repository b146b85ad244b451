"""What the layers of a loss network keep of an image: figures 3 and 4 of the paper.

An image is found that has a photograph's features in one layer (content), or a painting's Gram matrix (style). It
begins as noise, and is judged by that layer and by a little total variation alone.
"""

from pathlib import Path
from typing import Literal

from pydantic import Field
from torch import Tensor

from model_store.durable import replace_file
from trainer.errors import TrainerError
from trainer.hardware import Hardware
from trainer.loss_network import LossNetwork, load_loss_network
from trainer.losses import StyleObjective
from trainer.objective import ImageObjective
from trainer.optimize import Minimisation, minimise, noise
from trainer.pictures import Labelled, digest, labelled_row, painting, photograph
from trainer.run import Run, png

Kept = Literal["content", "style"]

LAYERS: dict[Kept, tuple[str, ...]] = {
    "content": ("relu2_2", "relu3_3", "relu4_3", "relu5_1", "relu5_3"),
    "style": ("relu1_2", "relu2_2", "relu3_3", "relu4_3"),
}
"""The paper's, in figures 3 and 4; a loss network may have some of them only."""


class InvertConfig(Minimisation):
    """Find images that have a photograph's features, or a painting's style, in one layer of the loss network."""

    content: Path | None = Field(None, description="a photograph, for feature reconstruction (the paper's figure 3)")
    style_image: Path | None = Field(None, description="a painting, for style reconstruction (the paper's figure 4)")
    run: Path = Field(Path("runs/invert"), description="folder for the pictures and the states")
    layers: tuple[str, ...] = Field((), description="of the loss network (default: the paper's, where it has them)")
    image_size: int = Field(256, ge=32, description="longer side to which the image is reduced")
    tv_weight: float = Field(0.3, ge=0, description="of total variation, per pixel and channel")


def invert(config: InvertConfig, *, resume: bool = False) -> str:
    """Write one picture row for each of the two that are given; what to tell the user."""
    if not (config.content or config.style_image):
        raise TrainerError("--content takes a photograph, --style-image a painting; one of them is needed, or both")
    hardware = config.precise()
    loss_network = load_loss_network(config.loss_network, config.loss_layout)
    hardware.place(loss_network)
    written = []
    for kept, path in (("content", config.content), ("style", config.style_image)):
        if path:
            row = _row(config, kept, path, hardware, loss_network, resume)  # type: ignore[arg-type]
            replace_file(config.run / f"{kept}.png", png(labelled_row(row)))
            written.append(f"{config.run}/{kept}.png")
    return ", ".join(written)


def _row(
    config: InvertConfig, kept: Kept, path: Path, hardware: Hardware, loss_network: LossNetwork, resume: bool
) -> list[Labelled]:
    """The image, and what each layer keeps of it."""
    read = photograph if kept == "content" else painting
    image = read(path, config.image_size, hardware)
    row = [(path.stem, image[0])]
    for layer in config.layers or _layers(kept, loss_network):
        objective = _objective(kept, layer, image, loss_network, config.tv_weight)
        run = Run(config.run / kept / layer)
        fingerprint = f"{digest(path)} {layer} {loss_network.source}"
        again = resume and run.state_file.exists()
        point = minimise(config, objective, noise(image, config.seed), run, fingerprint, resume=again, name=layer)
        row.append((layer, point.image[0]))
    return row


def _layers(kept: Kept, loss_network: LossNetwork) -> tuple[str, ...]:
    found = tuple(layer for layer in LAYERS[kept] if layer in loss_network.index)
    return found or tuple(loss_network.layout.style_layers)


def _objective(kept: Kept, layer: str, image: Tensor, loss_network: LossNetwork, tv_weight: float) -> ImageObjective:
    """Equation 5 with one of its weights, of the image itself: content and style are the same, and one layer each."""
    objective = StyleObjective(
        loss_network(image, [layer]),
        layer,
        {layer: 1.0},
        content_weight=float(kept == "content"),
        style_weight=float(kept == "style"),
        tv_weight=tv_weight,
    )
    return ImageObjective(objective, loss_network, image)
