"""Figure 5: after how many iterations optimisation reaches the objective of a network's single pass."""

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
from trainer.config import DEFAULT_STORE, StoreToRead
from trainer.data import image_files, image_names
from trainer.errors import TrainerError
from trainer.image_optimization.gatys import GatysConfig, noise
from trainer.image_optimization.minimize import OptimizationConfig, minimize
from trainer.loss_network import LossNetwork, load_loss_network
from trainer.objective import ImageObjective, style_objective
from trainer.paper.charts import Line, Panel, chart, require_charts
from trainer.paper.published import EQUIVALENT_ITERATIONS
from trainer.paper.report import Report, Row, TableConfig, command
from trainer.pictures import file_digest, load_painting, load_square
from trainer.run_folder import Run
from trainer.stored_models import find_model

OBJECTIVE_OPTIONS = (
    "content_layer",
    "style_layers",
    "content_weight",
    "style_weight",
    "centred",
    "tv_weight",
    "style_size",
)
"""The options of equation 5 in the recipe of a network's manifest, and the painting's size."""

SHOWN = (50, 100, 200, 300, 500)
"""The iterations that have a column in the report."""


class CurvesConfig(OptimizationConfig, TableConfig):
    """The options of `paper objective`."""

    model: str = Field(description="the style network: NAME or NAME@VERSION")
    style_image: Path = Field(description="the painting that it was trained on")
    content: Path = Field(description="folder of photographs that it was not trained on; their middle squares are used")
    store: StoreToRead = DEFAULT_STORE
    sizes: tuple[int, ...] = Field((256, 512, 1024), description="sides to which the squares are resized")
    photographs: tuple[int, ...] = Field((50,), description="how many, for each size or for all (paper: 50)")
    steps: int = Field(300, ge=1, description="iterations")

    @model_validator(mode="after")
    def _check_photographs(self) -> "CurvesConfig":
        if len(self.photographs) not in (1, len(self.sizes)) or min(self.photographs) < 1:
            raise ValueError("--photographs takes one number, or one for each of --sizes")
        return self

    @property
    def counts(self) -> Mapping[int, int]:
        """Side in pixels → number of photographs."""
        several = self.photographs if len(self.photographs) > 1 else self.photographs * len(self.sizes)
        return dict(zip(self.sizes, several, strict=True))


@dataclass(frozen=True)
class Curve:
    """The objective for one photograph at one size: of optimisation from iteration 0, of the network, of itself."""

    size: int
    photograph: str
    objective: Sequence[float]
    evaluations: Sequence[int]
    """Evaluations of the objective up to each iteration."""
    network: float
    """The objective at the network's output."""
    itself: float
    """The objective at the photograph."""


class Comparison:
    """Compares a style network with optimisation, by the objective of the network's training."""

    def __init__(self, config: CurvesConfig) -> None:
        """Raises TrainerError where the painting or the loss network is not that of the network's training."""
        self.config = config
        self.hardware = config.fp32_hardware()
        self.model = find_model(config.store, config.model)
        self.hardware.place(self.model.network)
        _require_painting(config, self.model)
        self.loss_network = load_loss_network(config.loss_network, config.loss_layout)
        self.hardware.place(self.loss_network)
        weights = _weights(config, self.model, self.loss_network)
        seen = load_painting(config.style_image, weights.style_size, self.hardware)
        self.objective = style_objective(weights, self.loss_network, seen)

    def curve(self, size: int, name: str, path: Path, *, resume: bool) -> Curve:
        """The curve of a photograph at one size; `resume` continues its run, or reads it where it is finished."""
        photo = load_square(path, size, self.hardware)
        objective = ImageObjective(self.objective, self.loss_network, photo)
        with torch.inference_mode():
            painted = self.model.network(photo)
        rows = list(_rows(self._run(size, path, objective, resume), self.config.steps))
        return Curve(
            size,
            name,
            [float(row["objective"]) for row in rows],
            [int(row["evaluations"]) for row in rows],
            objective.value(painted),
            objective.value(photo),
        )

    def _run(self, size: int, path: Path, objective: ImageObjective, resume: bool) -> Run:
        """A finished run of optimisation from noise; its state, which is large, is deleted."""
        config, model = self.config, self.model.manifest
        method = config.optimization
        fingerprint = f"{model.digest} {file_digest(config.style_image)} {file_digest(path)} {self.loss_network.source}"
        run = Run(
            config.out / "runs" / f"{model.label}-{size}-{path.stem}-{_short_digest(fingerprint)}", option="--out"
        )
        if not (resume and _finished(run, method)):
            has_state = resume and run.state_file.exists()
            begin = noise(objective.photograph, config.seed)
            minimize(method, objective, begin, run, fingerprint, resume=has_state, name=run.folder.name)
            run.state_file.unlink(missing_ok=True)
        return run


def curves(config: CurvesConfig, *, resume: bool = False) -> str:
    """Optimise, compare, write the report into `config.out` and return it.

    Each photograph has a run of its own under `config.out`; `resume` continues them. Raises TrainerError as
    `Comparison`, and without matplotlib.
    """
    require_charts()
    files = image_files(config.content)
    photographs = list(zip(image_names(files, config.content), files, strict=True))
    comparison = Comparison(config)
    found = [
        comparison.curve(size, name, path, resume=resume)
        for size, count in config.counts.items()
        for name, path in photographs[:count]
    ]
    return _report(config, comparison.model, found).save(config.out)


def equivalent_iterations(objective: Sequence[float], level: float) -> int | None:
    """The first iteration whose objective is at most `level`; None where there is none."""
    return next((iteration for iteration, value in enumerate(objective) if value <= level), None)


def _require_painting(config: CurvesConfig, model: StoredModel) -> None:
    """Raise TrainerError where the painting is not that of the network's training."""
    facts = model.manifest.provenance
    label = model.manifest.label
    if model.manifest.task != "style" or not facts.recipe:
        raise TrainerError(f"{label} is no style network with a recipe; --model takes one that was trained here")
    if facts.style_digest != file_digest(config.style_image):
        raise TrainerError(f"{label} was trained on another painting than {config.style_image}: {facts.style_image}")


def _weights(config: CurvesConfig, model: StoredModel, loss_network: LossNetwork) -> GatysConfig:
    """The options of the network's training objective; raises TrainerError where it had another loss network."""
    facts = model.manifest.provenance
    label = model.manifest.label
    if facts.loss_network != loss_network.source:
        raise TrainerError(f"{label} was trained with another loss network: {facts.loss_network}")
    recipe = {name: facts.recipe[name] for name in OBJECTIVE_OPTIONS if name in facts.recipe}
    return GatysConfig.model_validate({"content": config.content, "style_image": config.style_image, **recipe})


def _finished(run: Run, config: OptimizationConfig) -> bool:
    if not (run.folder / "objective.csv").exists():
        return False
    return bool(run.options() == json.loads(config.model_dump_json()))


def _rows(run: Run, steps: int) -> Iterator[Mapping[str, str]]:
    """The rows of iterations 0 to `steps`; where the run ended earlier, its last row is repeated."""
    row: Mapping[str, str] = {}
    with (run.folder / "objective.csv").open(newline="") as file:
        reader = csv.DictReader(file)
        for _ in range(steps + 1):
            row = next(reader, row)
            yield row


def _short_digest(text: str) -> str:
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
            f"The paper finds its networks comparable to {EQUIVALENT_ITERATIONS} iterations at every size.",
        ],
    )


def _row(config: CurvesConfig, size: int, found: Sequence[Curve]) -> Row:
    mean = _mean([curve.objective for curve in found])
    network = sum(curve.network for curve in found) / len(found)
    reached = equivalent_iterations(mean, network)
    beyond = f"> {config.steps}"
    each = [equivalent_iterations(curve.objective, curve.network) for curve in found]
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
        "paper": EQUIVALENT_ITERATIONS,
    }


def _spread(each: Sequence[int], steps: int) -> str:
    """Lowest, median and highest of the iterations; more than `steps` are written `> steps`."""
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
        "worth": equivalent_iterations(curve.objective, curve.network),
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
