"""Compares loss networks: the scale of their losses, and the images that minimise them."""

from collections.abc import Container, Mapping, Sequence
from itertools import chain, count, islice
from pathlib import Path

import torch
from pydantic import Field
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from model_store import StoredModel
from trainer.config import DEFAULT_STORE, StoreToRead
from trainer.data import image_files, image_names
from trainer.errors import TrainerError
from trainer.hardware import Hardware
from trainer.image_optimization.gatys import GatysConfig, noise
from trainer.image_optimization.minimize import OptimizationConfig, minimize
from trainer.loss_network import LossNetwork, load_loss_network
from trainer.losses import feature_reconstruction, gram_matrix, style_reconstruction
from trainer.objective import ImageObjective, style_objective
from trainer.paper.report import Report, Row, TableConfig, command
from trainer.pictures import LabelledPicture, file_digest, labelled_row, load_painting, load_square, stack_rows
from trainer.run_folder import Run, png
from trainer.stored_models import find_style

Results = Mapping[str, Sequence[Tensor]]
"""What made the images → an image (1, 3, S, S) for each photograph."""

PHOTOGRAPH = "photograph"
"""The key of the photographs themselves in Results."""


class LossNetworksConfig(OptimizationConfig, TableConfig):
    """The options of `paper loss-networks`."""

    loss_networks: tuple[str, ...] = Field(description="two or more of: torchvision, random, safetensors files")
    content: Path = Field(description="folder of photographs; their middle squares are used")
    style_image: Path = Field(description="the painting")
    models: tuple[str, ...] = Field((), description="style networks of that painting, judged too: NAME or NAME@VERSION")
    store: StoreToRead = DEFAULT_STORE
    photographs: int = Field(3, ge=1, description="how many")
    image_size: int = Field(256, ge=32, description="side to which the squares are resized")
    style_size: int = Field(512, ge=32, description="longer side at which the painting is seen")
    style_weight: float = Field(5.0, ge=0, description="of the style loss, a fraction of the painting's Gram energy")
    tv_weight: float = Field(0.5, ge=0, description="of total variation, per pixel and channel")
    steps: int = Field(100, ge=1, description="iterations, from the photograph")


def loss_networks(config: LossNetworksConfig, *, resume: bool = False) -> str:
    """Minimise each loss network's objective, evaluate all objectives at all images, write the report and return it.

    Raises TrainerError for less than two loss networks.
    """
    if len(config.loss_networks) < 2:
        raise TrainerError("--loss-networks takes two or more, to compare them: torchvision, random, files")
    hardware = config.fp32_hardware()
    photos = [load_square(path, config.image_size, hardware) for path in _files(config).values()]
    painting = load_painting(config.style_image, config.style_size, hardware)
    judged = [find_style(config.store, reference, "--models") for reference in config.models]
    networks = _load_all(config, hardware)
    objectives = {
        name: [_objective(config, loss_network, photo, painting) for photo in photos]
        for name, loss_network in networks.items()
    }
    results = _results(config, objectives, photos, resume)
    results |= _painted(judged, photos, hardware)
    scales = [
        _scale(name, loss_network, objectives[name][0], photos[0], painting) for name, loss_network in networks.items()
    ]
    relative = _relative_objectives(results, objectives)
    report = Report(
        "loss-networks",
        "What the choice of the loss network changes",
        command("loss-networks", config),
        {
            "The objective's terms at the first photograph and at noise": scales,
            f"Images after {config.steps} iterations (rows), judged by each objective: % of the photographs'": relative,
        },
        {"loss-networks-scale": scales, "loss-networks-judged": relative},
        {"loss-networks": png(stack_rows([labelled_row(_row(results, i)) for i in range(len(photos))]))},
        [
            (
                "Raw: the sums of equations 2 and 4 as the paper has them, over the default layers of each loss "
                "network. Ours: divided by the variance and the Gram energy of the painting's features, and centred. "
                "The raw ones need another weight for each loss network, ours have one scale."
            ),
            "random is VGG-16 with random weights: it shows what the architecture alone sees of a style.",
            *(f"{name}: {loss_network.source}" for name, loss_network in networks.items()),
        ],
    )
    return report.save(config.out)


def _load_all(config: LossNetworksConfig, hardware: Hardware) -> dict[str, LossNetwork]:
    """The loss networks by label: the layout's name, with the file's where two have the same layout."""
    networks: dict[str, LossNetwork] = {}
    for source in config.loss_networks:
        network = load_loss_network(source, config.loss_layout)
        hardware.place(network)
        networks[_new_label(network, source, networks)] = network
    return networks


def _new_label(network: LossNetwork, source: str, taken: Container[str]) -> str:
    """A label that no other loss network has."""
    name = f"{network.layout.name} (random)" if source == "random" else network.layout.name
    stem = Path(source).stem
    labels = chain([name, f"{name} ({stem})"], (f"{name} ({stem}, {number})" for number in count(2)))
    return next(label for label in labels if label not in taken)


def _files(config: LossNetworksConfig) -> Mapping[str, Path]:
    """The photographs by their names."""
    files = image_files(config.content)
    return dict(islice(zip(image_names(files, config.content), files, strict=True), config.photographs))


def _objective(
    config: LossNetworksConfig, loss_network: LossNetwork, photo: Tensor, painting: Tensor
) -> ImageObjective:
    """Equation 5 for a photograph, with the default layers of the loss network's layout."""
    weights = GatysConfig(
        content=config.content,
        style_image=config.style_image,
        style_weight=config.style_weight,
        tv_weight=config.tv_weight,
    )
    return ImageObjective(style_objective(weights, loss_network, painting), loss_network, photo)


def _results(
    config: LossNetworksConfig,
    objectives: Mapping[str, Sequence[ImageObjective]],
    photos: Sequence[Tensor],
    resume: bool,
) -> dict[str, Sequence[Tensor]]:
    """The photographs, and the images that minimise each objective."""
    results: dict[str, Sequence[Tensor]] = {PHOTOGRAPH: photos}
    for name, each in objectives.items():
        pairs = zip(_files(config).items(), each, strict=True)
        results[name] = [
            _minimum(config, f"{name}-{config.image_size}-{photo}", path, objective, resume)
            for (photo, path), objective in pairs
        ]
    return results


@torch.no_grad()
def _painted(judged: Sequence[StoredModel], photos: Sequence[Tensor], hardware: Hardware) -> Results:
    """What style networks make of the photographs."""
    for stored in judged:
        hardware.place(stored.network)
    return {stored.manifest.label: [stored.network(photo) for photo in photos] for stored in judged}


def _minimum(config: LossNetworksConfig, name: str, path: Path, objective: ImageObjective, resume: bool) -> Tensor:
    """The image (1, 3, S, S) that minimises an objective, from its photograph on, with a run of that name."""
    run = Run(config.out / "runs" / name.replace("%", "%25").replace("/", "%2F"), option="--out")
    weights = f"{config.style_size} {config.style_weight} {config.tv_weight}"
    fingerprint = f"{file_digest(path)} {file_digest(config.style_image)} {weights} {objective.loss_network.source}"
    has_state = resume and run.state_file.exists()
    begin = objective.photograph
    return minimize(config.optimization, objective, begin, run, fingerprint, resume=has_state, name=name).image


def _relative_objectives(results: Results, objectives: Mapping[str, Sequence[ImageObjective]]) -> list[Row]:
    """A row for each source of images: every objective in % of its value at the photograph, averaged."""
    values = {
        made_by: {loss_network: _values(each, images) for loss_network, each in objectives.items()}
        for made_by, images in results.items()
    }
    return [
        {"made by": made_by}
        | {loss_network: _percent(found[loss_network], values[PHOTOGRAPH][loss_network]) for loss_network in objectives}
        for made_by, found in values.items()
    ]


def _values(objectives: Sequence[ImageObjective], images: Sequence[Tensor]) -> list[float]:
    return [objective.value(image) for objective, image in zip(objectives, images, strict=True)]


def _percent(values: Sequence[float], bases: Sequence[float]) -> float:
    """The mean of values / bases in %, with two decimals."""
    return round(100 * sum(value / base for value, base in zip(values, bases, strict=True)) / len(values), 2)


def _scale(name: str, loss_network: LossNetwork, objective: ImageObjective, photo: Tensor, painting: Tensor) -> Row:
    """A row for a loss network: operations of an evaluation, and the raw and the normalised terms."""
    white = noise(photo, 0)
    with FlopCounterMode(display=False) as counter:
        variable = photo.clone().requires_grad_()
        torch.stack(list(objective(variable).values())).sum().backward()
    row: dict[str, str | int | float | None] = {
        "loss network": name,
        "content": objective.objective.content_layer,
        "style": " ".join(objective.objective.style_layers),
        "GFLOP an evaluation": counter.get_total_flops() / 1e9,
    }
    for at, image in (("photograph", photo), ("noise", white)):
        content, style = _raw(loss_network, objective, image, photo, painting)
        terms = objective.terms(image)
        row |= {
            f"raw content, {at}": content,
            f"raw style, {at}": style,
            f"our content, {at}": terms["content"],
            f"our style, {at}": sum(value for term, value in terms.items() if term.startswith("style")),
        }
    return row


@torch.no_grad()
def _raw(
    loss_network: LossNetwork, objective: ImageObjective, image: Tensor, photo: Tensor, painting: Tensor
) -> tuple[float, float]:
    """The paper's terms at an image: equation 2, and equation 4 summed over the style layers."""
    content_layer, style_layers = objective.objective.content_layer, objective.objective.style_layers
    of_image, of_photo, of_painting = (
        loss_network(each, objective.objective.layers) for each in (image, photo, painting)
    )
    content = feature_reconstruction(of_image[content_layer], of_photo[content_layer])
    style = sum(style_reconstruction(of_image[layer], gram_matrix(of_painting[layer])).item() for layer in style_layers)
    return content.item(), style


def _row(results: Results, number: int) -> list[LabelledPicture]:
    return [(made_by, images[number][0]) for made_by, images in results.items()]
