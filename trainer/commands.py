"""The commands of `pastiche-train`: the options of each, and what it does."""

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Annotated, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator
from pydantic_settings import CliImplicitFlag

from model_store import home_expanded
from model_store.durable import errors_naming
from trainer.config import DEFAULT_STORE, AnswersConfig, StoreToRead, StyleConfig, SuperResolutionConfig, TrainConfig
from trainer.data import image_files, random_exact_crop, read_image
from trainer.errors import TrainerError
from trainer.evaluate import bicubic, evaluate, format_scores
from trainer.hardware import Hardware
from trainer.image_optimization.gatys import GatysConfig, optimize
from trainer.image_optimization.inversion import InvertConfig, invert
from trainer.loss_network import load_loss_network
from trainer.objective import StyleWeights
from trainer.outputs import require_file, require_folder
from trainer.pairs import DegradedPhotographs, sheet
from trainer.paper.curves import CurvesConfig, curves
from trainer.paper.loss_networks import LossNetworksConfig, loss_networks
from trainer.paper.speed import SpeedConfig, speed
from trainer.paper.super_resolution import SuperResolutionTableConfig, super_resolution
from trainer.pictures import load_painting
from trainer.run_folder import Run, png
from trainer.stored_models import find_style, find_upscaler
from trainer.style_score import HARDWARE, StyleScorer, format_terms
from trainer.teacher_answers import compute_answers
from trainer.train_and_publish import Invocation, publish_run, train_and_publish
from trainer.watch.address import WatchAddress

Config = TypeVar("Config", bound=BaseModel)

Side = Annotated[int, Field(ge=16)]


class Command(BaseModel, ABC):
    """A command: its options as fields, and `execute`, which carries it out."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _names_a_place(cls, value: object, info: ValidationInfo) -> object:
        """Refuse an empty path, as a variable that is not set gives: it would be the folder that the process is in."""
        annotation = cls.model_fields[info.field_name or ""].annotation
        types = {annotation, *get_args(annotation)}
        if Path in types and str not in types and "" in (value if isinstance(value, list) else [value]):
            raise ValueError("a name is empty; this folder is written .")
        return value

    @field_validator("*")
    @classmethod
    def _expands_home(cls, value: object) -> object:
        """Of every path: shells leave a ~ alone after an equals sign."""
        if isinstance(value, tuple):
            return tuple(cls._expands_home(each) for each in value)
        return home_expanded(value) if isinstance(value, Path) else value

    @abstractmethod
    def execute(self) -> str:
        """Carry out the command; returns what to print."""


class Resumable(Command):
    """A command with a run that can be resumed."""

    resume: CliImplicitFlag[bool] = Field(False, description="go on with the run of this folder")

    def config(self, config_type: type[Config]) -> Config:
        """The options without `resume`, as they are kept in the run's folder."""
        fields = self.model_dump(include=set(config_type.model_fields), exclude_unset=True)
        return config_type.model_validate(fields)


class Training(Resumable):
    """What every command that trains can be told beside the training itself."""

    watch: WatchAddress | None = Field(
        None, description="show the training on a web page: HOST:PORT, or without a value a free port of 127.0.0.1"
    )
    tensorboard: Path | None = Field(None, description="folder for TensorBoard's event files (extra: tensorboard)")

    def train(self, config: TrainConfig) -> str:
        """Train and publish."""
        return train_and_publish(config, Invocation(self.resume, self.watch, self.tensorboard))


class Style(Training, StyleConfig):
    """Train a network that paints photographs in the style of one painting, and publish it."""

    def execute(self) -> str:
        return self.train(self.config(StyleConfig))


class SuperResolution(Training, SuperResolutionConfig):
    """Train a network that enlarges photographs, and publish it."""

    def execute(self) -> str:
        return self.train(self.config(SuperResolutionConfig))


class Answers(Command, AnswersConfig):
    """Compute a teacher's answers to damaged photographs, for `super-resolution --answers`."""

    def execute(self) -> str:
        hardware = Hardware.of(self.device, self.precision, self.threads)
        computed = compute_answers(self, hardware)
        return f"{computed} answers computed; {self.answers} has the first {self.answer_count}"


class Degrade(Command):
    """Show what `--degradation photo` does: photographs beside the small images that a network gets of them."""

    content: Path = Field(description="folder of photographs")
    preview: Path = Field(description="PNG file to write")
    scale: int = Field(4, ge=2, le=16, description="photograph's side over the small image's")
    image_size: int = Field(256, ge=16, description="side of the square crops of photographs")
    count: int = Field(12, ge=1, description="photographs on the sheet")
    seed: int = Field(0, ge=0, lt=2**64, description="of the crops and their damage")

    def execute(self) -> str:
        """Raises TrainerError for a size that is no multiple of the scale, DataError where there are no photographs."""
        if self.image_size % self.scale:
            raise TrainerError(f"--image-size {self.image_size} is no multiple of the scale, {self.scale}")
        require_file("--preview", self.preview)
        pairs = DegradedPhotographs(
            self.content, self.image_size, self.count, random_exact_crop, scale=self.scale, seed=self.seed
        )
        self.preview.parent.mkdir(parents=True, exist_ok=True)
        content = png(sheet(pairs.batch(0), self.scale))
        with errors_naming(self.preview):
            self.preview.write_bytes(content)
        return f"{self.preview}: {self.count} photographs, each with the small image that is made of it"


class Publish(Command):
    """Publish the saved state of a run, finished or not."""

    run: Path = Field(description="folder of the run, such as runs/wave")

    def execute(self) -> str:
        """Raises RunError where the folder holds no run, or a damaged one."""
        run = Run(self.run)
        config_type = StyleConfig if "style_image" in run.options() else SuperResolutionConfig
        return publish_run(run.config(config_type), run)


class Evaluate(Command):
    """PSNR, SSIM and grid of a super-resolution network, beside bicubic's."""

    model: str = Field(description="NAME or NAME@VERSION")
    images: Path = Field(description="folder of high-resolution images, such as Set5")
    store: StoreToRead = DEFAULT_STORE

    def execute(self) -> str:
        stored = find_upscaler(self.store, self.model, "--model")
        scale = stored.manifest.scale
        rows = {stored.manifest.label: evaluate(stored.network, self.images, scale)}
        rows["bicubic"] = evaluate(bicubic(scale), self.images, scale)
        return "\n".join(f"{method:24} {format_scores(scores)}" for method, scores in rows.items())


class Judge(Command, StyleWeights):
    """The objective of style networks on photographs that they have not seen."""

    models: tuple[str, ...] = Field(description="NAME or NAME@VERSION")
    images: Path = Field(description="folder of photographs")
    style_image: Path = Field(description="the painting")
    style_size: int = Field(512, ge=16, description="its longer side")
    sizes: tuple[Side, ...] = Field((512,), description="longer sides of the photographs")
    loss_network: str = Field("torchvision", description="torchvision or a safetensors file")
    store: StoreToRead = DEFAULT_STORE

    def execute(self) -> str:
        """Raises TrainerError, DataError, StoreError, before the loss network is fetched where they are of all else."""
        weights = StyleWeights.model_validate(self.model_dump(include=set(StyleWeights.model_fields)))
        for path in image_files(self.images, "--images"):
            read_image(path)
        found = [find_style(self.store, reference, "--models") for reference in self.models]
        painting = load_painting(self.style_image, self.style_size, HARDWARE)
        scorer = StyleScorer(load_loss_network(self.loss_network), painting, weights)
        lines = []
        for stored in found:
            for side in self.sizes:
                terms = scorer.mean(stored.network, self.images, side)
                lines.append(f"{stored.manifest.label:24} {side:5} px  {format_terms(terms)}")
        return "\n".join(lines)


class Optimize(Resumable, GatysConfig):
    """Paint one photograph in the style of one painting by optimisation (Gatys et al. 2016), without a network."""

    def execute(self) -> str:
        return optimize(self.config(GatysConfig), resume=self.resume)


class Invert(Resumable, InvertConfig):
    """Find images that have a photograph's features, or a painting's style, in one layer of the loss network."""

    def execute(self) -> str:
        return invert(self.config(InvertConfig), resume=self.resume)


class Speed(Command, SpeedConfig):
    """Table 1: seconds of 100, 300 and 500 iterations of optimisation against one forward pass."""

    def execute(self) -> str:
        require_folder("--out", self.out)
        return speed(self)


class Objective(Resumable, CurvesConfig):
    """Figure 5: the objective over the iterations of optimisation from noise, against a network's."""

    def execute(self) -> str:
        require_folder("--out", self.out)
        return curves(self.config(CurvesConfig), resume=self.resume)


class SuperResolutionTable(Command, SuperResolutionTableConfig):
    """Figures 8 and 9: PSNR and SSIM on Y of enlarging networks, beside bicubic's and the paper's."""

    def execute(self) -> str:
        require_folder("--out", self.out)
        return super_resolution(self)


class LossNetworks(Resumable, LossNetworksConfig):
    """What the choice of the loss network changes: the scale of its losses, and the images that minimise them."""

    def execute(self) -> str:
        require_folder("--out", self.out)
        return loss_networks(self.config(LossNetworksConfig), resume=self.resume)
