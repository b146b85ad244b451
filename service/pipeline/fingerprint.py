"""A hash of everything that can influence an answer, for coalescing and for the ETag. No answer is kept.

Equal hashes mean equal answers. The converse does not hold: options that the chosen format ignores are hashed too.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from enum import Enum
from functools import cache
from importlib.metadata import PackageNotFoundError, version

import torch
from pydantic import BaseModel

from service.engine.tiling import TileSizes
from service.models.served_model import ServedModel
from service.pipeline.resolve import ResolvedRequest, Timeout
from service.telemetry.metrics import package_version

PACKAGES = ("torch", "openvino", "spandrel", "numpy", "pillow", "pi-heif", "tifffile", "imagecodecs")
"""The packages that compute pixels, and read and write files."""


def build_fingerprint(device: torch.device, sizes: TileSizes) -> str:
    """What all answers of this process have in common: the versions of the code, and how it computes.

    A GPU that ran out of memory uses smaller batches, which can change last bits: that is not part of it.
    """
    versions = [f"{package} {_version(package)}" for package in PACKAGES]
    return f"pastiche {package_version()}, {', '.join(versions)}, {_device_name(device)}, {sizes}"


def request_fingerprint(request: ResolvedRequest, image: bytes, build: str) -> str:
    """The hash of an answer before it is computed, 32 hexadecimal digits; `build` is the fingerprint of the build."""
    whole = json.dumps([build, canonical(request), canonical(image)], sort_keys=True)
    return hashlib.sha256(whole.encode()).hexdigest()[:32]


def canonical(value: object) -> object:
    """A value as JSON, equal for equal values; a model becomes its digest.

    A Timeout is left out, since it does not change the answer. Everything else counts, also a field that is added
    later. Raises TypeError for what is not data.
    """
    match value:
        case None | bool() | int() | float() | str():
            return value
        case Enum():
            return canonical(value.value)
        case bytes():
            return {"sha256": hashlib.sha256(value).hexdigest()}
        case ServedModel():
            return [value.label, value.manifest.digest, value.loaded.default.computation, value.loaded.fp32.computation]
        case BaseModel():
            return value.model_dump_json()
    kind: type = type(value)
    names = _member_names(kind)
    if names is not None:
        members = ((name, getattr(value, name)) for name in names)
        return {name: canonical(member) for name, member in members if not isinstance(member, Timeout)}
    match value:
        case Mapping():
            return {str(key): canonical(item) for key, item in value.items()}
        case Sequence():
            return [canonical(item) for item in value]
    raise TypeError(f"{type(value).__name__} cannot be part of a fingerprint")


@cache
def _member_names(kind: type) -> tuple[str, ...] | None:
    """The fields of a dataclass; None for other types."""
    return tuple(field.name for field in fields(kind)) if is_dataclass(kind) else None


def _device_name(device: torch.device) -> str:
    if device.type != "cuda":
        return device.type
    return f"{torch.cuda.get_device_name(device)}, cuDNN {torch.backends.cudnn.version()}"


@cache
def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "none"
