"""Where the public names are defined. A module is imported when the first of its names is used."""

from importlib import import_module

EXPORTS = {
    "Architecture": "model_store.networks",
    "ArchitectureError": "model_store.networks",
    "CacheSettings": "model_store.remote.version_cache",
    "CorruptModel": "model_store.errors",
    "Draft": "model_store.manifest",
    "Golden": "model_store.golden",
    "GoldenMismatch": "model_store.errors",
    "ImportedNetwork": "model_store.networks",
    "ImportedSpec": "model_store.networks",
    "LayerForm": "model_store.networks",
    "Location": "model_store.remote.location",
    "Manifest": "model_store.manifest",
    "ModelStore": "model_store.store",
    "NAME_PATTERN": "model_store.published_versions",
    "Network": "model_store.networks",
    "NetworkSpec": "model_store.networks",
    "PRECISIONS": "model_store.networks",
    "PREVIEW_FILE": "model_store.card",
    "Provenance": "model_store.manifest",
    "ReadOnlyStore": "model_store.errors",
    "SHIPPED": "model_store.remote.location",
    "SHIPPED_STORE": "model_store.remote.location",
    "STYLE": "model_store.networks",
    "StoreAway": "model_store.errors",
    "StoreError": "model_store.errors",
    "StoredModel": "model_store.store",
    "TransformNetwork": "model_store.networks",
    "UPSCALE_4": "model_store.networks",
    "UPSCALE_8": "model_store.networks",
    "UnknownModel": "model_store.errors",
    "area_reduced": "model_store.networks",
    "describe_ignored_entries": "model_store.ignored_entries",
    "for_inference": "model_store.networks",
    "has_fast_bf16": "model_store.networks",
    "home_expanded": "model_store.remote.location",
    "is_url": "model_store.remote.location",
    "model_card": "model_store.card",
    "open_store": "model_store.remote.opening",
    "parse_location": "model_store.remote.location",
    "reflected": "model_store.networks",
    "split_locations": "model_store.remote.location",
    "thin_layers": "model_store.networks",
    "thumbnail": "model_store.networks",
}


def import_name(name: str) -> object:
    """What the package has under that name (PEP 562). Raises AttributeError where it has nothing."""
    if name not in EXPORTS:
        raise AttributeError(f"module 'model_store' has no attribute {name!r}")
    return getattr(import_module(EXPORTS[name]), name)
