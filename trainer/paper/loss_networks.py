"""What the choice of the loss network changes: the scale of its losses, and the images that minimise them."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from pydantic import Field
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from trainer.data import image_files
from trainer.errors import TrainerError
from trainer.hardware import Hardware
from trainer.loss_network import LossNetwork, load_loss_network
from trainer.losses import feature_reconstruction, gram_matrix, style_reconstruction
from trainer.models import find_model
from trainer.objective import ImageObjective, style_objective
from trainer.optimize import Minimisation, OptimizeConfig, minimise, noise
from trainer.paper.report import Report, Row, TableConfig, command
from trainer.pictures import Labelled, digest, labelled_row, painting, square, stacked
from trainer.run import Run, png

Results = Mapping[str, Sequence[Tensor]]
"""Images of the photographs, (1, 3, S, S) each, by what made them."""

PHOTOGRAPH = "photograph"
"""What made the photographs themselves."""


class LossNetworksConfig(Minimisation, TableConfig):
    """What the choice of the loss network changes: the scale of its losses, and the images that minimise them."""

    loss_networks: tuple[str, ...] = Field(description="two or more of: torchvision, random, safetensors files")
    content: Path = Field(description="folder of photographs; their middle squares are used")
    style_image: Path = Field(description="the painting")
    models: tuple[str, ...] = Field((), description="style networks of that painting, judged too: NAME or NAME@VERSION")
    store: Path = Field(Path("models"), description="model store")
    photographs: int = Field(3, ge=1, description="how many")
    image_size: int = Field(256, ge=32, description="side to which the squares are resized")
    style_size: int = Field(512, ge=32, description="longer side at which the painting is seen")
    style_weight: float = Field(5.0, ge=0, description="of the style loss, a fraction of the painting's Gram energy")
    tv_weight: float = Field(0.5, ge=0, description="of total variation, per pixel and channel")
    steps: int = Field(100, ge=1, description="iterations, from the photograph")


def loss_networks(config: LossNetworksConfig, *, resume: bool = False) -> str:
    """Minimise each loss network's objective and judge the images by all; write the tables and the pictures."""
    if len(config.loss_networks) < 2:
        raise TrainerError("--loss-networks takes two or more, to compare them: torchvision, random, files")
    hardware = config.precise()
    judges = _judges(config, hardware)
    photos = [square(path, config.image_size, hardware) for path in _files(config)]
    seen = painting(config.style_image, config.style_size, hardware)
    objectives = {name: [_objective(config, judge, photo, seen) for photo in photos] for name, judge in judges.items()}
    results = _results(config, objectives, photos, hardware, resume)
    scales = [_scale(name, judge, objectives[name][0], photos[0], seen) for name, judge in judges.items()]
    verdicts = _verdicts(results, objectives)
    report = Report(
        "loss-networks",
        "What the choice of the loss network changes",
        command("loss-networks", config),
        {
            "The objective's terms at the first photograph and at noise": scales,
            f"Images after {config.steps} iterations (rows), judged by each objective: % of the photographs'": verdicts,
        },
        {"loss-networks-scale": scales, "loss-networks-judged": verdicts},
        {"loss-networks": png(stacked([labelled_row(_row(results, i)) for i in range(len(photos))]))},
        [
            (
                "Raw: the sums of equations 2 and 4 as the paper has them, over the default layers of each loss "
                "network. Ours: divided by the variance and the Gram energy of the painting's features, and centred. "
                "The raw ones need another weight for each loss network, ours have one scale."
            ),
            "random is VGG-16 with random weights: it shows what the architecture alone sees of a style.",
            *(f"{name}: {judge.source}" for name, judge in judges.items()),
        ],
    )
    return report.save(config.out)


def _judges(config: LossNetworksConfig, hardware: Hardware) -> dict[str, LossNetwork]:
    """The loss networks by the names of their layouts."""
    judges = {}
    for source in config.loss_networks:
        network = load_loss_network(source, config.loss_layout)
        hardware.place(network)
        name = f"{network.layout.name} (random)" if source == "random" else network.layout.name
        judges[name if name not in judges else f"{name} ({Path(source).stem})"] = network
    return judges


def _files(config: LossNetworksConfig) -> list[Path]:
    return image_files(config.content)[: config.photographs]


def _objective(config: LossNetworksConfig, judge: LossNetwork, photo: Tensor, seen: Tensor) -> ImageObjective:
    """With the layers of the judge's layout, as training has them by default."""
    weights = OptimizeConfig(
        content=config.content,
        style_image=config.style_image,
        style_weight=config.style_weight,
        tv_weight=config.tv_weight,
    )
    return ImageObjective(style_objective(weights, judge, seen), judge, photo)


def _results(
    config: LossNetworksConfig,
    objectives: Mapping[str, Sequence[ImageObjective]],
    photos: Sequence[Tensor],
    hardware: Hardware,
    resume: bool,
) -> Results:
    """The photographs, the images that minimise each objective, those of the style networks."""
    results: dict[str, Sequence[Tensor]] = {PHOTOGRAPH: photos}
    method = Minimisation.model_validate(config.model_dump(include=set(Minimisation.model_fields)))
    for name, each in objectives.items():
        images = []
        for path, objective, photo in zip(_files(config), each, photos, strict=True):
            run = Run(config.out / "runs" / f"{name}-{config.image_size}-{path.stem}")
            weights = f"{config.style_size} {config.style_weight} {config.tv_weight}"
            fingerprint = f"{digest(path)} {digest(config.style_image)} {weights} {objective.loss_network.source}"
            again = resume and run.state_file.exists()
            point = minimise(method, objective, photo, run, fingerprint, resume=again, name=run.folder.name)
            images.append(point.image)
        results[name] = images
    for reference in config.models:
        stored = find_model(config.store, reference)
        hardware.place(stored.network)
        with torch.no_grad():
            results[stored.manifest.label] = [stored.network(photo) for photo in photos]
    return results


def _verdicts(results: Results, objectives: Mapping[str, Sequence[ImageObjective]]) -> list[Row]:
    """The means of the objectives, each as a share of the photograph's own."""
    values = {
        made_by: {judge: _values(each, images) for judge, each in objectives.items()}
        for made_by, images in results.items()
    }
    return [
        {"made by": made_by} | {judge: _percent(found[judge], values[PHOTOGRAPH][judge]) for judge in objectives}
        for made_by, found in values.items()
    ]


def _values(objectives: Sequence[ImageObjective], images: Sequence[Tensor]) -> list[float]:
    return [objective.value(image) for objective, image in zip(objectives, images, strict=True)]


def _percent(values: Sequence[float], bases: Sequence[float]) -> float:
    """The mean of the shares."""
    return round(100 * sum(value / base for value, base in zip(values, bases, strict=True)) / len(values), 2)


def _scale(name: str, judge: LossNetwork, objective: ImageObjective, photo: Tensor, seen: Tensor) -> Row:
    """What one evaluation costs, and the terms as the paper has them and as ours are."""
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
        content, style = _raw(judge, objective, image, photo, seen)
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
    judge: LossNetwork, objective: ImageObjective, image: Tensor, photo: Tensor, seen: Tensor
) -> tuple[float, float]:
    """Equation 2, and equation 4 summed over the layers."""
    content_layer, style_layers = objective.objective.content_layer, objective.objective.style_layers
    of_image, of_photo, of_painting = (judge(each, objective.objective.layers) for each in (image, photo, seen))
    content = feature_reconstruction(of_image[content_layer], of_photo[content_layer])
    style = sum(style_reconstruction(of_image[layer], gram_matrix(of_painting[layer])).item() for layer in style_layers)
    return content.item(), style


def _row(results: Results, number: int) -> list[Labelled]:
    return [(made_by, images[number][0]) for made_by, images in results.items()]
