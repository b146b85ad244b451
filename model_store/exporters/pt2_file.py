"""PT2: the graph as torch.export saves it, which torch loads without any code of ours.

https://docs.pytorch.org/docs/stable/export/pt2_archive.html
"""

import io
import warnings
from functools import partial

import torch

from model_store.exporters.facts import facts
from model_store.exporters.graph import answers, check, for_batches_or_one, trace
from model_store.store import StoredModel


def pt2_bytes(model: StoredModel) -> bytes:
    """The file, loaded again and run on images of several sizes with the answers of the network.

    Raises ExportFailed where they differ.
    """
    return for_batches_or_one(model.network, partial(_checked, model))


def _checked(model: StoredModel, batched: bool) -> bytes:
    label = model.manifest.label
    saved = io.BytesIO()
    extra = {f"pastiche/{name}": value for name, value in facts(model.manifest, batched=batched).items()}
    torch.export.save(trace(model.network, label, batched=batched), saved, extra_files=extra)
    with warnings.catch_warnings(action="ignore"):  # of torch 2.11, about its own buffers
        loaded = torch.export.load(io.BytesIO(saved.getvalue())).module()
    known = [*answers(model.network, batched=batched), (model.golden.batch(), model.golden.output)]
    with torch.no_grad():
        check(loaded, known, f"{label} as PT2")
    return saved.getvalue()
