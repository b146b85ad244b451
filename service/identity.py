"""When two answers are the same, to the byte: one hash over everything that decides on them."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from enum import Enum
from importlib.metadata import PackageNotFoundError, version

import torch
from pydantic import BaseModel

from service.metrics import package_version
from service.orders import Order, Terms
from service.served_models import ServedModel
from service.tiling import TileSizes

PACKAGES = ("torch", "numpy", "pillow", "pillow-heif", "tifffile", "imagecodecs")
"""What computes the pixels of answers, and reads and writes their files; some are there in some installations only."""


def made_with(device: torch.device, precision: torch.dtype, sizes: TileSizes) -> str:
    """What every answer of this process has in common: the code that paints and encodes it, and how it computes.

    That a GPU's memory did not suffice for its full passes is no part of it, though it can change a last bit.
    """
    versions = [f"{package} {_version(package)}" for package in PACKAGES]
    return f"pastiche {package_version()}, {', '.join(versions)}, {_name(device)}, {precision}, {sizes}"


def identity(order: Order, data: bytes, made: str) -> str:
    """The hash of an answer that is not there yet, as hexadecimal digits; `made` is that of `made_with`."""
    whole = json.dumps([made, canonical(order), canonical(data)], sort_keys=True)
    return hashlib.sha256(whole.encode()).hexdigest()[:32]


def canonical(value: object) -> object:
    """A value as JSON, equal for equal values.

    A model is its digest. How urgent an order is (its terms) is no part of what is asked for. Whatever else an order
    has counts, an option that is added to it by itself: TypeError where that is not data.
    """
    match value:
        case None | bool() | int() | float() | str():
            return value
        case Enum():
            return canonical(value.value)
        case bytes():
            return {"sha256": hashlib.sha256(value).hexdigest()}
        case ServedModel():
            return {"model": value.label, "digest": value.manifest.digest}
        case BaseModel():
            return {name: canonical(getattr(value, name)) for name in type(value).model_fields}
        case Mapping():
            return {str(key): canonical(item) for key, item in value.items()}
        case Sequence():
            return [canonical(item) for item in value]
    if is_dataclass(value):
        members = {field.name: getattr(value, field.name) for field in fields(value)}
        return {name: canonical(member) for name, member in members.items() if not isinstance(member, Terms)}
    raise TypeError(f"{type(value).__name__} cannot be hashed into the identity of an answer")


def _name(device: torch.device) -> str:
    if device.type != "cuda":
        return device.type
    return f"{torch.cuda.get_device_name(device)}, cuDNN {torch.backends.cudnn.version()}"


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "none"
