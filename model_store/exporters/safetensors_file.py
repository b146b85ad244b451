"""safetensors: the weights as they are stored, with the manifest. See `model_store.portable`."""

from collections.abc import Mapping

from torch import Tensor

from model_store.exporters.facts import facts
from model_store.manifest import Manifest
from model_store.portable import pack


def safetensors_bytes(manifest: Manifest, tensors: Mapping[str, Tensor]) -> bytes:
    """The file with these weights."""
    return pack(manifest, tensors, facts(manifest))
