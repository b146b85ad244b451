"""A network and its manifest in one safetensors file, which `pastiche-models import` takes back.

The manifest is text in the file's header. Many programs drop the header and keep the tensors alone: for them, networks
of our own have it as one more tensor, MANIFEST_TENSOR, the bytes of the text. Those of others keep exactly the tensors
that the programs they come from expect.
"""

from collections.abc import Mapping

import torch
from pydantic import ValidationError
from safetensors.torch import save
from torch import Tensor

from model_store.errors import UnknownCheckpoint
from model_store.manifest import Manifest
from model_store.networks.transform import NetworkSpec

MANIFEST_KEY = "pastiche.manifest"
"""In the header, beside what else is said there."""

MANIFEST_TENSOR = "pastiche.manifest"
"""uint8 (bytes,)."""


def pack(manifest: Manifest, tensors: Mapping[str, Tensor], header: Mapping[str, str]) -> bytes:
    """The file with these weights; `header` is text for people."""
    text = manifest.model_dump_json()
    stored = {key: tensor.contiguous() for key, tensor in tensors.items()}
    if isinstance(manifest.network, NetworkSpec):
        stored[MANIFEST_TENSOR] = torch.tensor(list(text.encode()), dtype=torch.uint8)
    return save(stored, {"format": "pt", **header, MANIFEST_KEY: text})


def manifest_of(tensors: Mapping[str, Tensor], header: Mapping[str, str]) -> Manifest | None:
    """The manifest in a file, or in its tensors alone; None in a file of another program.

    Raises UnknownCheckpoint for one that cannot be read.
    """
    found = tensors.get(MANIFEST_TENSOR)
    text = header.get(MANIFEST_KEY) if found is None else _text_of(found)
    if text is None:
        return None
    try:
        return Manifest.model_validate_json(text)
    except ValidationError as error:
        fields = ", ".join(".".join(map(str, complaint["loc"])) or "JSON" for complaint in error.errors())
        raise UnknownCheckpoint(f"its manifest is of another version of Pastiche, or damaged: {fields}") from error


def _text_of(tensor: Tensor) -> bytes:
    """The bytes of MANIFEST_TENSOR, also where a program has converted all tensors of a file, and it with them."""
    values = tensor.to(torch.uint8)
    if tensor.dim() != 1 or not values.double().equal(tensor.double()):
        raise UnknownCheckpoint("its manifest is damaged: a tensor of bytes is wanted")
    return bytes(values.tolist())


def weights_of(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors without the manifest."""
    return {key: tensor for key, tensor in tensors.items() if key != MANIFEST_TENSOR}
