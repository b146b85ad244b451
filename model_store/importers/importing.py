"""A checkpoint of another project published to a store: recognised, rebuilt, its origin noted."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError
from torch import Tensor

from model_store.errors import MissingExtra, UnknownCheckpoint
from model_store.importers.checkpoint import Checkpoint, read_checkpoint
from model_store.importers.exported import publish_exported
from model_store.importers.fast_neural_style import ABHISKK, GORDICALEKSA, PYTORCH_EXAMPLES
from model_store.importers.labels import Labels
from model_store.importers.style_layout import StyleLayout
from model_store.importers.super_resolution import measure_imported
from model_store.importers.tensorflow_style import LENGSTROM, from_variables
from model_store.importers.torch7_style import JCJOHNSON_BATCH, JCJOHNSON_INSTANCE
from model_store.importers.transposed_style import RRMINA, RRMINA_TANH
from model_store.manifest import Draft, Manifest, Origin, Provenance, Task
from model_store.networks.network import Network
from model_store.portable import manifest_of
from model_store.store import ModelStore

STYLES = (PYTORCH_EXAMPLES, ABHISKK, GORDICALEKSA, RRMINA, RRMINA_TANH, LENGSTROM, JCJOHNSON_BATCH, JCJOHNSON_INSTANCE)
"""The layouts of style networks."""

MOST_DIFFERENCES = 3
"""That one message names."""


@dataclass(frozen=True)
class _Recognised:
    network: Network
    task: Task
    layout: str
    assumptions: Mapping[str, str]
    tensors: Mapping[str, Tensor]
    """What is stored of it."""


def import_checkpoint(store: ModelStore, path: Path, labels: Labels) -> Manifest:
    """Publish the network of a file as the next version of `labels.name`, and make it current.

    A file that `pastiche-models export` has written is published as what it was.

    Raises UnknownCheckpoint for a file that holds no known network, or one that cannot be served; MissingExtra where
    spandrel is needed and missing.
    """
    checkpoint = read_checkpoint(path)
    try:
        manifest = manifest_of(checkpoint.tensors, checkpoint.header)
    except UnknownCheckpoint as error:
        raise UnknownCheckpoint(f"{checkpoint.file}: {error}") from error
    if manifest is not None:
        return publish_exported(store, checkpoint, manifest, labels)
    try:
        found = _recognise(checkpoint, labels)
    except ValidationError as error:  # of the network's specification
        reason = error.errors()[0]["msg"].removeprefix("Value error, ")
        raise UnknownCheckpoint(f"{checkpoint.file}: its network is none that can be served: {reason}") from error
    return store.publish(found.network, _draft(found, checkpoint, labels), tensors=found.tensors)


def _recognise(checkpoint: Checkpoint, labels: Labels) -> _Recognised:
    tensors = from_variables(checkpoint.tensors) or checkpoint.tensors
    differences = {layout: layout.differences(tensors) for layout in STYLES}
    exact = [layout for layout, found in differences.items() if not found]
    if exact:
        layout = _choose(exact, checkpoint, labels)
        network = layout.convert(tensors)
        return _Recognised(network, "style", layout.name, layout.assumptions, network.state_dict())
    try:
        found = _recognise_enlarger(checkpoint)
    except UnknownCheckpoint as error:
        raise UnknownCheckpoint(f"{checkpoint.file}: {_describe_nearest(differences)}; {error}") from error
    if labels.output is not None:
        raise UnknownCheckpoint(f"{checkpoint.file}: --output is of style networks; it is {found.layout}")
    return found


def _choose(layouts: Sequence[StyleLayout], checkpoint: Checkpoint, labels: Labels) -> StyleLayout:
    """The layout of a file, of those that it has: with the output that the labels say."""
    chosen = [layout for layout in layouts if labels.output in (None, layout.output)]
    if len(chosen) == 1:
        return chosen[0]
    named = " or ".join(f"--output {layout.output} ({layout.name})" for layout in layouts)
    if not chosen:
        raise UnknownCheckpoint(f"{checkpoint.file}: it is no network of --output {labels.output}, but of {named}")
    raise UnknownCheckpoint(f"{checkpoint.file}: its keys do not tell what ends the network: {named}")


def _recognise_enlarger(checkpoint: Checkpoint) -> _Recognised:
    try:
        network = measure_imported(checkpoint.tensors)
    except MissingExtra as error:
        raise MissingExtra(f"{checkpoint.file}: no style network is in it; {error}") from error
    grey = "grey, 0 to 1: the luma of the image, by ITU-R BT.601"
    pixels = {
        "pixels": grey if network.spec.channels == 1 else "RGB, 0 to 1",
        "padding": "as the network does it, at the border of the image",
    }
    task: Task = "restoration" if network.scale == 1 else "super-resolution"
    stored = {key: tensor.clone() for key, tensor in checkpoint.tensors.items()}
    return _Recognised(network, task, f"spandrel {network.spec.architecture}", pixels, stored)


def _describe_nearest(differences: Mapping[StyleLayout, Sequence[str]]) -> str:
    """The style layout that a file resembles most, and what distinguishes it."""
    layout, found = min(differences.items(), key=lambda pair: len(pair[1]))
    named = "; ".join(found[:MOST_DIFFERENCES])
    more = f" and {len(found) - MOST_DIFFERENCES} more" if len(found) > MOST_DIFFERENCES else ""
    return f"of the layouts of style networks, that of {layout.name} is the nearest, but {named}{more}"


def _draft(found: _Recognised, checkpoint: Checkpoint, labels: Labels) -> Draft:
    origin = Origin(
        layout=found.layout,
        file=checkpoint.file,
        digest=checkpoint.digest,
        author=labels.author,
        source=labels.source,
        assumptions=dict(found.assumptions),
    )
    return Draft(
        name=labels.name,
        task=found.task,
        title=labels.title,
        license=labels.license,
        provenance=Provenance(data="not known: the network was imported"),
        origin=origin,
    )
