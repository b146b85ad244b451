"""A folder as the Hugging Face Hub expects one: card, weights, configuration, pictures.

https://huggingface.co/docs/hub/models-uploading
"""

import io
import json
from collections.abc import Mapping
from typing import Any

from PIL import Image
from torch import Tensor

from model_store.card import PREVIEW_FILE, model_card
from model_store.exporters.safetensors_file import safetensors_bytes
from model_store.manifest import Manifest
from model_store.networks.imported import ImportedSpec
from model_store.store import StoredModel

WEIGHTS_FILE = "model.safetensors"


def hub_files(model: StoredModel, tensors: Mapping[str, Tensor], preview: bytes | None) -> dict[str, bytes]:
    """The files of the folder by their names. `preview` is a PNG file."""
    manifest = model.manifest
    pictures = {"example-input.png": _png(model.golden.batch()), "example-output.png": _png(model.golden.output)}
    if preview is not None:
        pictures[PREVIEW_FILE] = preview
    card = model_card(manifest, preview=preview is not None) + _guide(manifest)
    configuration = json.dumps(_configuration(manifest), indent=2, ensure_ascii=False) + "\n"
    return {
        "README.md": card.encode(),
        "config.json": configuration.encode(),
        WEIGHTS_FILE: safetensors_bytes(manifest, tensors),
        **pictures,
    }


def _configuration(manifest: Manifest) -> dict[str, Any]:
    return {
        "model_type": "pastiche",
        "task": manifest.task,
        "scale": manifest.scale,
        "network": manifest.network.model_dump(mode="json"),
        "digest": manifest.digest,
        "license": manifest.license,
    }


def _guide(manifest: Manifest) -> str:
    """How others load the folder, at the end of the card."""
    return f"""
## Files

`{WEIGHTS_FILE}` has the weights and, in its header, the manifest; `config.json` says what network they are of;
`example-output.png` is what it makes of `example-input.png`. Pastiche serves it after

```console
$ pastiche-models import {WEIGHTS_FILE} --name {manifest.name}
```

{_loading(manifest)}
"""


def _loading(manifest: Manifest) -> str:
    if isinstance(manifest.network, ImportedSpec):
        return "spandrel, and whatever is built on it, loads the file as that of its architecture."
    return """[spandrel](https://github.com/chaiNNer-org/spandrel) loads it after Pastiche's registration:

```python
from spandrel import ModelLoader

from model_store.spandrel_architecture import register

register()
network = ModelLoader().load_from_file("model.safetensors")
```"""


def _png(image: Tensor) -> bytes:
    """An image (1, 3, H, W) in [0, 1] as a PNG file."""
    pixels = (image[0].permute(1, 2, 0) * 255).round().byte().numpy()
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()
