"""The manifest: metadata of one version of one network."""

import re
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, StringConstraints, Tag

from model_store.networks.imported import ImportedSpec
from model_store.networks.transform import NetworkSpec
from model_store.published_versions import NAME_PATTERN

Name = Annotated[str, StringConstraints(pattern=NAME_PATTERN)]
Task = Literal["style", "super-resolution", "restoration"]
"""Restoration: of photographs at their size, without noise or the traces of compression, for one."""


def _kind_of_spec(spec: Any) -> str:
    package = spec.get("package") if isinstance(spec, dict) else getattr(spec, "package", None)
    return "transform" if package is None else "imported"


AnySpec = Annotated[
    Annotated[NetworkSpec, Tag("transform")] | Annotated[ImportedSpec, Tag("imported")], Discriminator(_kind_of_spec)
]
"""Of our own networks, and of those that another package builds."""


class Provenance(BaseModel):
    """How a network was trained, in enough detail to judge it and to train it again. Every number is finite."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    data: str = Field(description="the images that it was trained on, in words")
    style_image: str = Field("", description="the painting, in words: painter, title, year")
    style_digest: str = Field("", description="sha256:… of the painting's file")
    loss_network: str = Field("", description="the loss network: layout and digest of its weights")
    recipe: dict[str, Any] = Field(
        default_factory=dict, description="every option of the training run that changes the network"
    )
    losses: dict[str, float] = Field(default_factory=dict, description="the last mean of each loss term")
    metrics: dict[str, float] = Field(default_factory=dict, description="measured results, such as psnr_set5")
    steps: int = Field(0, ge=0, description="optimisation steps")
    software: dict[str, str] = Field(default_factory=dict, description="versions of torch and of the trainer")


class Origin(BaseModel):
    """Where an imported network comes from, and how its file was understood."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    layout: str = Field(description="whose layout the file has")
    file: str = Field(description="the name of the file")
    digest: str = Field(description="sha256:… of the file")
    author: str = Field("", description="who made the network")
    source: str = Field("", description="where the file is published")
    assumptions: dict[str, str] = Field(
        default_factory=dict, description="what the layout says of colours, ranges and padding, and the file does not"
    )


class Draft(BaseModel):
    """The part of a manifest that the publisher writes; the store adds the rest."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Name
    task: Task
    title: str = Field("", description="for people: “The Great Wave (Hokusai)”")
    description: str = ""
    license: str = Field("Apache-2.0", description="SPDX identifier of the licence of the weights")
    working_size: int | None = Field(
        None,
        ge=16,
        description="of a style: the longer side, in pixels, at which its strokes read: larger photographs are painted "
        "at it; by default the service's",
    )
    provenance: Provenance = Field(default_factory=lambda: Provenance(data="not stated"))
    origin: Origin | None = Field(None, description="of a network that was imported")


class Manifest(Draft):
    """One version of one network. It is never changed after publication."""

    format: Literal[1] = Field(1, description="of the manifest itself and of the files beside it")
    version: int = Field(ge=1)
    network: AnySpec
    scale: int = Field(ge=1, description="output side over input side")
    tileable: bool = Field(description="whether tiles of an image give exactly what the whole image gives")
    halo: int = Field(
        ge=0,
        description="input pixels by which the native form reflects an image to the left and above; a tile that begins "
        "at a multiple of the network's stride depends on so many pixels before it",
    )
    parameters: int = Field(ge=1)
    digest: str = Field(pattern=r"^sha256:[0-9a-f]{64}$", description="of weights.safetensors")
    golden_digest: str = Field(pattern=r"^sha256:[0-9a-f]{64}$", description="of golden.safetensors")
    created: datetime

    @property
    def label(self) -> str:
        """`name@version`, as in answers and logs."""
        return f"{self.name}@{self.version}"


def is_unicode(text: str) -> bool:
    """Whether it can be written into a manifest. Arguments and names of files may be bytes that are no UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def parse_version(text: str) -> int | None:
    """The number of a version; None for what is none, and for more digits than a folder's name has."""
    return int(text) if re.fullmatch(r"[0-9]{1,255}", text) else None


def parse_reference(text: str) -> tuple[str, int | None] | None:
    """NAME or NAME@VERSION → the name and the version, None for the current one; None for what is neither."""
    name, at, number = text.partition("@")
    version = parse_version(number)
    return (name, version) if name and (version is not None or not at) else None
