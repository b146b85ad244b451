"""What both tasks make by the configuration: the network before training, and the photographs."""

from pathlib import Path

import torch
from pydantic import ValidationError

from model_store import NetworkSpec, TransformNetwork
from trainer.config import TrainConfig
from trainer.data import Crop, Photographs
from trainer.errors import TrainerError
from trainer.hardware import Hardware
from trainer.prefetch import Prefetch

FIXED_ZOOM_MULTIPLE = 32
"""What the sides of larger photographs are rounded to a multiple of where shapes are to be few."""


def new_network(config: TrainConfig, spec: NetworkSpec) -> TransformNetwork:
    """An untrained network; the same seed gives the same weights. Raises TrainerError as `served_spec`."""
    served_spec(spec)
    torch.manual_seed(config.seed)
    return TransformNetwork(spec)


def served_spec(spec: NetworkSpec) -> NetworkSpec:
    """What a network is served as: in the form "native", which can be tiled, except with instance normalisation, which
    keeps the form of training. Raises TrainerError where it has no such form."""
    form = spec.form if spec.norm == "instance" else "native"
    try:
        return NetworkSpec.model_validate(spec.model_dump() | {"form": form})
    except ValidationError as error:
        reason = error.errors()[0]["msg"].removeprefix("Value error, ")
        raise TrainerError(f"--architecture {spec.architecture} with --norm {spec.norm}: {reason}") from error


def crops_of(
    config: TrainConfig,
    folder: Path,
    crop: Crop,
    side: int,
    hardware: Hardware,
    *,
    zoom: float = 1.0,
    zoom_from: int = 0,
    option: str = "--content",
) -> Photographs:
    """The photographs of a folder as square crops of `side` pixels, with the configuration's batch size and seed."""
    return Photographs(
        folder,
        side,
        config.batch,
        crop,
        seed=config.seed,
        cache_mb=config.cache_mb,
        zoom=zoom,
        zoom_from=zoom_from,
        zoom_multiple=FIXED_ZOOM_MULTIPLE if hardware.fixed_shapes else 1,
        prefetch=prefetch_of(config, hardware),
        option=option,
    )


def preview_folder(config: TrainConfig) -> tuple[Path, str]:
    """The folder whose photographs previews show, and the option that named it."""
    return (config.preview, "--preview") if config.preview else (config.content, "--content")


def prefetch_of(config: TrainConfig, hardware: Hardware) -> Prefetch:
    """How the batches of a training are prepared."""
    return Prefetch.of(config.workers, hardware.device)
