"""The options of a training run: default, bounds and description of each.

Defaults are the paper's (§4.1, §4.2); where ours differ, the description gives the paper's value.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    PlainValidator,
    field_validator,
    model_validator,
)

from model_store import STYLE, Architecture, Location, parse_location
from model_store.manifest import Name
from model_store.networks.layers import Norm
from trainer.loss_network import Pooling
from trainer.objective import StyleWeights
from trainer.presets import (
    STYLE_PRESETS,
    SUPER_RESOLUTION_PRESETS,
    Options,
    Preset,
    describe,
    style_preset,
    super_resolution_preset,
)
from trainer.style_levels import LEAST_SIDE

Precision = Literal["auto", "fp32", "bf16"]

DEVICE_PATTERN = r"^(auto|cpu|cuda(:\d+)?)$"


def _parse_store(given: Any) -> Location:
    if isinstance(given, Path):
        return given
    if not isinstance(given, str):
        raise ValueError("it is a folder, or a URL such as s3://bucket/models")
    return parse_location(given)


def _require_folder(store: Location) -> Location:
    if isinstance(store, Path) and not store.is_dir():
        raise ValueError(f"{store} is no folder; a model store is wanted, a folder or a URL such as s3://bucket/models")
    return store


DEFAULT_STORE = Path("models")

StoreLocation = Annotated[Location, PlainValidator(_parse_store)]
"""Where networks are published: a folder, which need not be there yet, or a URL."""

StoreToRead = Annotated[
    StoreLocation, AfterValidator(_require_folder), Field(description="model store: a folder, or a URL such as s3://…")
]
"""Where networks are found. A folder that is given is there; the default one need not be."""

Device = Annotated[str, Field(pattern=DEVICE_PATTERN, description="auto, cpu, cuda or cuda:N")]

Threads = Annotated[int, Field(ge=0, le=1024, description="CPU threads; 0 leaves the choice to torch")]
"""With very many, torch ends the process."""

Steps = Annotated[int, Field(ge=1, le=10**9)]

TeacherRestorer = Annotated[
    Path | None,
    Field(
        description="another such file: the teacher sees what it makes of an image, reduced to the size of the image"
    ),
]

TeacherLicense = Annotated[
    str, Field(description="SPDX expression of the licences of the teacher and its restorer, for the manifest")
]

DESCRIPTIVE_OPTIONS = ("title", "description", "license", "data", "style_title", "working_size")
"""Texts for people; they change nothing in the network."""

PATH_OPTIONS = (
    "store",
    "run",
    "content",
    "style_image",
    "loss_network",
    "teacher",
    "teacher_restorer",
    "validation",
    "preview",
    "answers",
)
"""Paths and names of inputs and outputs. A resumed run may have other ones: inputs are compared by their digests."""

RESUMABLE_OPTIONS = (
    "device",
    "threads",
    "cuda_graphs",
    "workers",
    "cache_mb",
    "preview_every",
    "save_every",
    "log_every",
    "steps",
)
"""Options that may change when a run is resumed."""


class TrainConfig(BaseModel):
    """The options of both tasks."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    name: Name = Field(description="name of the network in the store and in the service's URLs")
    content: Path = Field(description="folder of photographs to train on, searched recursively")
    store: StoreLocation = Field(
        DEFAULT_STORE, description="model store to publish into: a folder, or a URL such as s3://…"
    )
    run: Path | None = Field(None, description="folder of the run's state, metrics and previews (runs/<name>)")
    steps: Steps = Field(40_000, description="optimisation steps")
    batch: int = Field(4, ge=1, description="images per step")
    accumulate: int = Field(
        1,
        ge=1,
        description="parts in which a batch is computed, one after the other, for less memory; statistics of the "
        "batch, such as those of batch normalisation and the pooled Gram matrices of --zoom, become those of a part",
    )
    learning_rate: float = Field(1e-3, gt=0, description="Adam's learning rate at its highest")
    schedule: Literal["cosine", "constant"] = Field("cosine", description="of the learning rate (paper: constant)")
    warmup: int = Field(100, ge=0, description="steps over which the learning rate rises from zero (paper: 0)")
    clip: float = Field(1.0, ge=0, description="norm to which gradients are clipped; 0: not at all (paper: 0)")
    shift: int = Field(
        8,
        ge=1,
        description="the loss network sees images without their first 0 to N - 1 rows and columns, at random: a "
        "network that always meets the same phase of its pooling learns to please it with a grid (paper: 1)",
    )
    ema: float = Field(0.999, ge=0, lt=1, description="decay of the averaged weights that are published (paper: 0)")
    warm_start: str = Field(
        "",
        description="begin with the weights of this model of the store: NAME or NAME@VERSION; or with the average of "
        "several that were trained from the same weights, by shares: wave@2:3,wave@3:1",
    )
    seed: int = Field(0, ge=0, lt=2**64, description="of the first weights and of the order and crops of the images")
    device: Device = "auto"
    precision: Precision = Field("auto", description="of the networks; losses are always computed in fp32")
    threads: Threads = 0
    cuda_graphs: bool = Field(
        True, description="launch a step as one CUDA graph, on one GPU; where that fails, a warning says so"
    )
    workers: int = Field(
        0, ge=0, le=64, description="threads that prepare photographs; 0: half of the processors, at most 8"
    )
    cache_mb: int = Field(1024, ge=0, description="memory for decoded photographs")
    log_every: Steps = Field(10, description="steps between lines of metrics.jsonl")
    preview_every: Steps = Field(250, description="steps between preview pictures")
    save_every: Steps = Field(250, description="steps between saved states")
    preview: Path | None = Field(None, description="folder of photographs that previews show (default: --content)")
    loss_network: str = Field("torchvision", description="torchvision (VGG-16, downloaded) or a safetensors file")
    loss_layout: str = Field(
        "auto", description="vgg16, vgg11, vgg19-distilled or squeezenet1_1; auto recognises the file"
    )
    loss_pooling: Pooling = Field("max", description="of the loss network: max (the paper) or average")
    title: str = Field("", description="title for people")
    description: str = Field("", description="a sentence for people")
    license: str = Field("", description="SPDX identifier of the licence of the weights")
    data: str = Field("", description="the photographs in words, for the manifest")

    @property
    def folder(self) -> Path:
        """The run's folder: `run`, or runs/<name>."""
        return self.run or Path("runs") / self.name

    @classmethod
    def preset_options(cls, _: Mapping[str, Any], /) -> Options:
        """The options of the preset that is among the given ones; none without one."""
        return {}

    @model_validator(mode="before")
    @classmethod
    def _apply_preset(cls, given: Any) -> Any:
        return {**cls.preset_options(given), **given} if isinstance(given, Mapping) else given

    @model_validator(mode="after")
    def _check_accumulate(self) -> Self:
        if self.batch % self.accumulate:
            raise ValueError(f"--accumulate {self.accumulate} does not divide a batch of {self.batch}")
        return self

    @field_validator("architecture", check_fields=False)
    @classmethod
    def _normalise_architecture(cls, notation: str) -> str:
        return str(Architecture.parse(notation))


class StyleConfig(StyleWeights, TrainConfig):
    """The options of style transfer (paper §4.1)."""

    preset: Preset | None = Field(None, description=describe(STYLE_PRESETS))
    style_image: Path = Field(description="the painting")
    style_title: str = Field("", description="the painting in words: painter, title, year")
    style_size: int = Field(512, ge=16, description="longer side at which the painting is seen; sets the stroke size")
    working_size: int | None = Field(
        None, ge=16, description="longer side at which the service paints larger photographs (default: the service's)"
    )
    image_size: int = Field(256, ge=16, description="side of the square crops of photographs")
    architecture: str = Field(STYLE, description="layers of the network in the paper's notation")
    norm: Norm = Field(
        "thumbnail",
        description="normalisation: thumbnail looks like instance and can be tiled; instance depends on the whole "
        "plane and cannot (paper: batch)",
    )
    thumbnail: int = Field(
        256, ge=16, le=1024, description="longest side of the thumbnail that --norm thumbnail is measured on"
    )
    zoom: float = Field(
        3.0,
        ge=1,
        le=16,
        description="how many times the crops' side a photograph's may be, by a random factor in each step: a network "
        "with thumbnail normalisation that has not seen parts of large photographs paints them feebly (paper: 1)",
    )
    zoom_from: float = Field(
        0.75,
        ge=0,
        le=1,
        description="share of the steps before the first larger photograph: until then thumbnail normalisation is "
        "instance normalisation, which learns faster, and a short while at low rates makes it local",
    )
    teacher: str = Field(
        "",
        description="also learn to paint as this model does, NAME or NAME@VERSION: a slow network, or one that cannot "
        "be tiled, teaches a fast one or a local one",
    )
    teacher_weight: float = Field(10.0, ge=0, description="of the mean squared difference from the teacher's paintings")
    skip: bool = Field(False, description="add the photograph to the output")
    output: Literal["tanh", "linear"] = Field("linear", description="map of the last layer (paper: tanh)")
    grid_weight: float = Field(
        1000.0, ge=0, description="of the energy of patterns that repeat every two or four pixels (paper: 0)"
    )
    flat_texture_weight: float = Field(
        0.0,
        ge=0,
        description="of the energy of regular patterns of 5 to 16 pixels where the photograph is flat (paper: 0)",
    )
    blotch_weight: float = Field(
        0.0,
        ge=0,
        description="of patches of another hue, 16 pixels and larger, where the photograph has none (paper: 0)",
    )
    tone_weight: float = Field(
        0.0,
        ge=0,
        description="of the light and shade of the photograph, 8 pixels and larger, that the painting lacks (paper: 0)",
    )
    neighbour_weight: float = Field(
        0.0,
        ge=0,
        description="of the distance between each place of a painting and the nearest one of the painter's, in the "
        "features of the two last style layers: planes and edges instead of one texture everywhere (paper: 0)",
    )
    style_levels: int = Field(
        1,
        ge=1,
        le=4,
        description="sizes at which the style and the nearest places are compared, each half of the one before: with "
        "more, a network learns forms that are larger than what the loss network sees (paper: 1)",
    )
    stability_weight: float = Field(
        0.0,
        ge=0,
        description="of the mean squared difference between the paintings of a photograph and of the same one moved by "
        "some pixels, with noise: less flicker in videos; a step takes nearly twice as long (paper: 0)",
    )
    style_ramp: float = Field(
        0.3,
        ge=0,
        le=1,
        description="share of the steps over which the style weight rises from zero (paper: 0): a network that learns "
        "to keep the photograph first does not lose it among brush strokes",
    )

    @classmethod
    def preset_options(cls, given: Mapping[str, Any], /) -> Options:
        return style_preset(str(given.get("preset")))

    @model_validator(mode="after")
    def _check_style_levels(self) -> Self:
        least = LEAST_SIDE * 2 ** (self.style_levels - 1)
        if self.style_levels > 1 and self.image_size < least:
            raise ValueError(
                f"--style-levels {self.style_levels} wants crops of at least {least} pixels, not --image-size "
                f"{self.image_size}"
            )
        return self


class SuperResolutionConfig(TrainConfig):
    """The options of super-resolution (paper §4.2)."""

    preset: Preset | None = Field(
        None,
        description=f"{describe(SUPER_RESOLUTION_PRESETS)}; with the layers of the shipped networks for ×2, ×4 and ×8, "
        "from whose weights quick and cpu begin",
    )
    scale: int = Field(4, ge=2, le=16, description="output side over input side")
    batch: int = Field(16, ge=1, description="images per step (paper: 4)")
    steps: Steps = Field(200_000, description="optimisation steps")
    image_size: int = Field(192, ge=16, description="side of the high-resolution crops (paper: 288)")
    architecture: str = Field(
        "", description="layers in the paper's notation (c3s1-64,R64*4,c3s1-48,p4 for ×4; paper: c9s1-64,R64*4,u64,…)"
    )
    norm: Norm = Field("none", description="normalisation (paper: batch)")
    skip: bool = Field(True, description="add the enlarged input to the output (paper: no)")
    noise_channels: int = Field(
        0,
        ge=0,
        le=16,
        description="channels of noise that the network sees beside the image: an adversary has detail made of it, "
        "where without noise it has a weave (paper: 0)",
    )
    blur: float = Field(0.0, ge=0, description="σ of a Gaussian blur before the bicubic reduction (paper: 1.0)")
    degradation: Literal["bicubic", "photo"] = Field(
        "bicubic",
        description="what the network is to undo: a bicubic reduction, or what photographs go through, blur, noise and "
        "JPEG, twice (paper: bicubic)",
    )
    teacher: Path | None = Field(
        None, description="a safetensors file of a large network that spandrel knows, whose answers are learned"
    )
    teacher_restorer: TeacherRestorer = None
    teacher_license: TeacherLicense = ""
    answers: Path | None = Field(
        None, description="folder that keeps the teacher's answers; without --teacher those that it has are learned"
    )
    answer_count: int = Field(1000, ge=1, description="answers to learn from; those that are missing are computed")
    answer_side: int = Field(64, ge=16, description="side of the small images that the teacher answers to")
    pixel_loss: Annotated[Literal["l1", "l2"], Field(description="pixel loss (paper: l2)")] = "l1"
    pixel_weight: float = Field(1.0, ge=0, description="of the pixel loss (paper: 1, or 0 with the feature loss)")
    feature_weight: float = Field(0.0, ge=0, description="of the feature reconstruction loss (paper: 0 or 1)")
    texture_weight: float = Field(
        0.0, ge=0, description="of the texture loss: Gram matrices of small patches, a share of their energy (paper: 0)"
    )
    perceptual_weight: float = Field(
        0.0,
        ge=0,
        description="of the perceptual distance: features at all style layers of the loss network, divided by their "
        "norm, of images that are shifted and zoomed at random (paper: 0)",
    )
    adversary_weight: float = Field(
        0.0,
        ge=0,
        description="of the adversary's loss: a discriminator of patches, which learns to tell enlarged images from "
        "wanted ones; detail as sharp as theirs, at the cost of pixels that are right (paper: 0)",
    )
    adversary_ramp: float = Field(
        0.1, ge=0, le=1, description="share of the steps over which --adversary-weight rises from zero (paper: 0)"
    )
    grid_weight: float = Field(0.0, ge=0, description="of patterns that repeat with the scale (paper: 0)")
    repetition_weight: float = Field(
        0.0,
        ge=0,
        description="of errors that repeat with twice the scale over four periods: a perceptual loss rewards a weave "
        "that changes from place to place, which --grid-weight does not find (paper: 0)",
    )
    loss_reduction: int = Field(
        1,
        ge=1,
        le=8,
        description="the loss network sees images with so many times shorter sides: the finest detail, of which an ×8 "
        "enlargement can know nothing, is left to the pixel loss, and no weave of it is rewarded (paper: 1)",
    )
    validation: Path | None = Field(None, description="folder of images whose PSNR and SSIM go into the manifest")
    feature_layer: str = Field("relu2_2", description="layer of the feature reconstruction loss")

    @classmethod
    def preset_options(cls, given: Mapping[str, Any], /) -> Options:
        scale = str(given.get("scale", cls.model_fields["scale"].default))
        return super_resolution_preset(str(given.get("preset")), int(scale) if scale.isdecimal() else 0)

    @model_validator(mode="after")
    def _check_blur(self) -> Self:
        reach = round(3 * self.blur)
        if reach >= self.image_size:
            raise ValueError(
                f"--blur {self.blur} reaches {reach} pixels, beyond crops of --image-size {self.image_size}"
            )
        return self

    @model_validator(mode="after")
    def _check_answers(self) -> Self:
        if self.teacher and not self.answers:
            raise ValueError("--teacher needs --answers, a folder for what it makes of photographs")
        if self.teacher_restorer and not self.teacher:
            raise ValueError("--teacher-restorer restores what a --teacher sees: name one")
        if self.answers and self.degradation != "photo":
            raise ValueError("--answers are those to damaged photographs: add --degradation photo")
        return self


class AnswersConfig(BaseModel):
    """The options of a teacher's answers; they are among those of super-resolution, too."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    content: Path = Field(description="folder of sharp photographs, searched recursively")
    teacher: Path = Field(description="a safetensors file of a network that spandrel knows")
    teacher_restorer: TeacherRestorer = None
    teacher_license: TeacherLicense = ""
    answers: Path = Field(description="folder that keeps the answers; computing goes on where it stopped")
    answer_count: int = Field(1000, ge=1, description="answers that there will be")
    answer_side: int = Field(64, ge=16, description="side of the small images")
    scale: int = Field(4, ge=2, le=16, description="output side over input side")
    seed: int = Field(0, ge=0, lt=2**64, description="of the crops and their damage")
    device: Device = "auto"
    precision: Precision = Field("auto", description="of the teacher")
    threads: Threads = 0
