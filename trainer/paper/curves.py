"""Figure 5: how many iterations of optimisation a network's single pass is worth, on photographs it never saw."""

import csv
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import torch
from pydantic import Field, model_validator

from model_store import StoredModel
from trainer.data import image_files
from trainer.errors import TrainerError
from trainer.loss_network import LossNetwork, load_loss_network
from trainer.models import find_model
from trainer.objective import ImageObjective, style_objective
from trainer.optimize import Minimisation, OptimizeConfig, minimise, noise
from trainer.paper.charts import Line, Panel, chart, require_charts
from trainer.paper.published import WORTH
from trainer.paper.report import Report, Row, TableConfig, command
from trainer.pictures import digest, painting, square
from trainer.run import Run

RECIPE = ("content_layer", "style_layers", "content_weight", "style_weight", "centred", "tv_weight", "style_size")
"""What a network's manifest says of the objective that it was trained on."""

SHOWN = (50, 100, 200, 300, 500)


class CurvesConfig(Minimisation, TableConfig):
    """Figure 5: the objective over the iterations of optimisation from noise, against a network's."""

    model: str = Field(description="the style network: NAME or NAME@VERSION")
    style_image: Path = Field(description="the painting that it was trained on")
    content: Path = Field(description="folder of photographs that it was not trained on; their middle squares are used")
    store: Path = Field(Path("models"), description="model store")
    sizes: tuple[int, ...] = Field((256, 512, 1024), description="sides to which the squares are resized")
    photographs: tuple[int, ...] = Field((50,), description="how many, for each size or for all (paper: 50)")
    steps: int = Field(300, ge=1, description="iterations")

    @model_validator(mode="after")
    def _paired(self) -> "CurvesConfig":
        if len(self.photographs) not in (1, len(self.sizes)) or min(self.photographs) < 1:
            raise ValueError("--photographs takes one number, or one for each of --sizes")
        return self

    @property
    def counts(self) -> Mapping[int, int]:
        """Photographs by size."""
        several = self.photographs if len(self.photographs) > 1 else self.photographs * len(self.sizes)
        return dict(zip(self.sizes, several, strict=True))


@dataclass(frozen=True)
class Curve:
    """One photograph: the objective by iteration from 0 on, what it took, and what it is compared with."""

    size: int
    photograph: str
    objective: Sequence[float]
    evaluations: Sequence[int]
    network: float
    itself: float
    """Of the photograph."""


class Comparison:
    """A network against optimisation, both judged by the objective of the network's training."""

    def __init__(self, config: CurvesConfig) -> None:
        """Raises TrainerError where another objective would be judged than that of the training."""
        self.config = config
        self.hardware = config.precise()
        self.model = find_model(config.store, config.model)
        self.hardware.place(self.model.network)
        self.loss_network = load_loss_network(config.loss_network, config.loss_layout)
        self.hardware.place(self.loss_network)
        weights = _weights(config, self.model, self.loss_network)
        seen = painting(config.style_image, weights.style_size, self.hardware)
        self.objective = style_objective(weights, self.loss_network, seen)

    def curve(self, size: int, path: Path, *, resume: bool) -> Curve:
        """Of one photograph at one size; `resume` goes on with its run, or takes what it found."""
        photo = square(path, size, self.hardware)
        judged = ImageObjective(self.objective, self.loss_network, photo)
        with torch.inference_mode():
            painted = self.model.network(photo)
        rows = list(_rows(self._run(size, path, judged, resume), self.config.steps))
        return Curve(
            size,
            path.stem,
            [float(row["objective"]) for row in rows],
            [int(row["evaluations"]) for row in rows],
            judged.value(painted),
            judged.value(photo),
        )

    def _run(self, size: int, path: Path, judged: ImageObjective, resume: bool) -> Run:
        """A finished run of optimisation from noise, without its state: that is large, and the curve is there."""
        config, model = self.config, self.model.manifest
        method = Minimisation.model_validate(config.model_dump(include=set(Minimisation.model_fields)))
        fingerprint = f"{model.digest} {digest(config.style_image)} {digest(path)} {self.loss_network.source}"
        run = Run(config.out / "runs" / f"{model.label}-{size}-{path.stem}-{_short(fingerprint)}")
        if not (resume and _finished(run, method)):
            again = resume and run.state_file.exists()
            begin = noise(judged.photograph, config.seed)
            minimise(method, judged, begin, run, fingerprint, resume=again, name=run.folder.name)
            run.state_file.unlink(missing_ok=True)
        return run


def curves(config: CurvesConfig, *, resume: bool = False) -> str:
    """Optimise, compare and write the figure; each optimisation has a run of its own, which `resume` goes on with."""
    require_charts()
    comparison = Comparison(config)
    files = image_files(config.content)
    found = [
        comparison.curve(size, path, resume=resume) for size, count in config.counts.items() for path in files[:count]
    ]
    return _report(config, comparison.model, found).save(config.out)


def worth(objective: Sequence[float], level: float) -> int | None:
    """The first iteration whose objective is no higher than a level; None where none is."""
    return next((iteration for iteration, value in enumerate(objective) if value <= level), None)


def _weights(config: CurvesConfig, model: StoredModel, loss_network: LossNetwork) -> OptimizeConfig:
    """The objective of the network's training; raises TrainerError where another one would be judged."""
    facts = model.manifest.provenance
    label = model.manifest.label
    if model.manifest.task != "style" or not facts.recipe:
        raise TrainerError(f"{label} is no style network with a recipe; --model takes one that was trained here")
    if facts.style_digest != digest(config.style_image):
        raise TrainerError(f"{label} was trained on another painting than {config.style_image}: {facts.style_image}")
    if facts.loss_network != loss_network.source:
        raise TrainerError(f"{label} was trained with another loss network: {facts.loss_network}")
    recipe = {name: facts.recipe[name] for name in RECIPE if name in facts.recipe}
    return OptimizeConfig.model_validate({"content": config.content, "style_image": config.style_image, **recipe})


def _finished(run: Run, config: Minimisation) -> bool:
    if not (run.folder / "objective.csv").exists():
        return False
    return bool(json.loads(run.config_file.read_text()) == json.loads(config.model_dump_json()))


def _rows(run: Run, steps: int) -> Iterator[Mapping[str, str]]:
    """Iterations 0 to `steps`; the last one again where the method could do no better."""
    row: Mapping[str, str] = {}
    with (run.folder / "objective.csv").open(newline="") as file:
        reader = csv.DictReader(file)
        for _ in range(steps + 1):
            row = next(reader, row)
            yield row


def _short(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _report(config: CurvesConfig, model: StoredModel, found: Sequence[Curve]) -> Report:
    label = model.manifest.label
    by_size = {size: [curve for curve in found if curve.size == size] for size in config.sizes}
    return Report(
        f"objective-{model.manifest.name}",
        f"Figure 5: the objective, {label}",
        command("objective", config),
        {f"Means over the photographs, {config.method} from noise": [_row(config, *each) for each in by_size.items()]},
        {
            f"objective-{model.manifest.name}-curves": list(_points(found)),
            f"objective-{model.manifest.name}": [_photograph_row(curve) for curve in found],
        },
        {f"objective-{model.manifest.name}": _chart(by_size, label)},
        [
            (
                "The objective is that of the network's training, its weights and its painting included; photographs "
                "are middle squares, resized; the network's pass is in fp32."
            ),
            "An iteration is one new image; evaluations of the objective with its gradient are counted beside it.",
            f"The paper finds its networks comparable to {WORTH} iterations at every size.",
        ],
    )


def _row(config: CurvesConfig, size: int, found: Sequence[Curve]) -> Row:
    mean = _mean([curve.objective for curve in found])
    network = sum(curve.network for curve in found) / len(found)
    reached = worth(mean, network)
    beyond = f"> {config.steps}"
    each = [worth(curve.objective, curve.network) for curve in found]
    return {
        "side": size,
        "photographs": len(found),
        "photograph itself": sum(curve.itself for curve in found) / len(found),
        "noise": mean[0],
        **{f"{step} iterations": mean[step] for step in SHOWN if step <= config.steps},
        "network": network,
        "worth, iterations": beyond if reached is None else reached,
        "evaluations": None if reached is None else round(_mean([curve.evaluations for curve in found])[reached]),
        "worth, by photograph": _spread([config.steps + 1 if one is None else one for one in each], config.steps),
        "paper": WORTH,
    }


def _spread(each: Sequence[int], steps: int) -> str:
    """Lowest, median and highest."""
    low, middle, high = (f"> {steps}" if one > steps else f"{one:g}" for one in (min(each), median(each), max(each)))
    return f"{low} – {middle} – {high}"


def _mean(columns: Sequence[Sequence[float]]) -> list[float]:
    return [sum(values) / len(values) for values in zip(*columns, strict=True)]


def _photograph_row(curve: Curve) -> Row:
    return {
        "size": curve.size,
        "photograph": curve.photograph,
        "itself": curve.itself,
        "network": curve.network,
        "worth": worth(curve.objective, curve.network),
    }


def _points(found: Sequence[Curve]) -> Iterator[Row]:
    for curve in found:
        for iteration, (value, count) in enumerate(zip(curve.objective, curve.evaluations, strict=True)):
            yield {
                "size": curve.size,
                "photograph": curve.photograph,
                "iteration": iteration,
                "evaluations": count,
                "objective": value,
            }


def _chart(by_size: Mapping[int, Sequence[Curve]], label: str) -> bytes:
    panels = []
    for size, found in by_size.items():
        mean = _mean([curve.objective for curve in found])
        network = sum(one.network for one in found) / len(found)
        itself = sum(one.itself for one in found) / len(found)
        lines = [
            Line("optimisation", mean, range(len(mean))),
            Line(label, [network], style="--"),
            Line("the photograph", [itself], style=":"),
        ]
        panels.append(Panel(f"{size}×{size}, {len(found)} photographs", lines))
    return chart(panels, "iterations", "objective")
