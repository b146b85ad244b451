"""Files that `pastiche-models export` has written, published as what they were."""

from model_store.errors import UnknownCheckpoint
from model_store.importers.checkpoint import Checkpoint
from model_store.importers.labels import Labels
from model_store.manifest import Draft, Manifest, Origin
from model_store.portable import weights_of
from model_store.store import ModelStore, build_network, digest_of


def publish_exported(store: ModelStore, checkpoint: Checkpoint, manifest: Manifest, labels: Labels) -> Manifest:
    """Publish the weights with their manifest as the next version of `labels.name`; what labels say counts more.

    Raises StoreError where the weights are not those of the manifest, to the last bit, and for labels that only
    networks of others have.
    """
    _require_kept(manifest, labels, checkpoint.file)
    tensors = weights_of(checkpoint.tensors)
    network = build_network(manifest.network, tensors, checkpoint.file)
    if digest_of(tensors, checkpoint.file) != manifest.digest:
        raise UnknownCheckpoint(
            f"{checkpoint.file}: its weights are not those that its manifest describes: it is damaged, or another "
            f"program has changed it; what {manifest.label} was exported as is wanted"
        )
    return store.publish(network, _draft(manifest, labels), tensors=tensors)


def _require_kept(manifest: Manifest, labels: Labels, file: str) -> None:
    """Raise UnknownCheckpoint for labels that the manifest has no place for."""
    if manifest.origin is None and (labels.author or labels.source):
        raise UnknownCheckpoint(
            f"{file}: {'--author' if labels.author else '--source'} is of networks of others; {manifest.label} was "
            "trained by Pastiche, as its manifest says: --title and --license can be given"
        )
    if labels.output is not None:
        raise UnknownCheckpoint(
            f"{file}: --output is of style networks whose keys do not tell; the manifest of {manifest.label} does"
        )


def _draft(manifest: Manifest, labels: Labels) -> Draft:
    kept = {field: getattr(manifest, field) for field in Draft.model_fields}
    said = {"title": labels.title, "license": labels.license, "origin": _origin(manifest.origin, labels)}
    return Draft(**kept | {"name": labels.name} | {field: value for field, value in said.items() if value})


def _origin(origin: Origin | None, labels: Labels) -> Origin | None:
    """That of a network which was imported before; one of our own has none."""
    if origin is None:
        return None
    said = {"author": labels.author, "source": labels.source}
    return origin.model_copy(update={field: value for field, value in said.items() if value})
