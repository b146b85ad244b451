"""PT2: the graph as torch.export saves it, which torch loads without any code of ours.

https://docs.pytorch.org/docs/stable/export/pt2_archive.html
"""

import io

import torch

from model_store.exporters.facts import facts
from model_store.exporters.graph import answers, require_equal, trace
from model_store.store import StoredModel


def pt2_bytes(model: StoredModel) -> bytes:
    """The file, loaded again and run on images of several sizes with the answers of the network.

    Raises ExportFailed where they differ.
    """
    label = model.manifest.label
    saved = io.BytesIO()
    extra = {f"pastiche/{name}": value for name, value in facts(model.manifest).items()}
    torch.export.save(trace(model.network, label), saved, extra_files=extra)
    loaded = torch.export.load(io.BytesIO(saved.getvalue())).module()
    for image, expected in [*answers(model.network), (model.golden.batch(), model.golden.output)]:
        with torch.no_grad():
            require_equal(loaded(image), expected, f"{label} as PT2")
    return saved.getvalue()
