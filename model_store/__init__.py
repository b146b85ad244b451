"""Transform networks, their manifests and the versioned store, shared by the trainer and the service.

Names are imported when they are first used: a command can be interrupted before torch is there.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from model_store.card import PREVIEW_FILE, model_card
    from model_store.errors import CorruptModel, GoldenMismatch, ReadOnlyStore, StoreAway, StoreError, UnknownModel
    from model_store.golden import Golden
    from model_store.ignored_entries import describe_ignored_entries
    from model_store.manifest import Draft, Manifest, Provenance
    from model_store.networks import (
        PRECISIONS,
        STYLE,
        UPSCALE_4,
        UPSCALE_8,
        Architecture,
        ArchitectureError,
        ImportedNetwork,
        ImportedSpec,
        LayerForm,
        Network,
        NetworkSpec,
        TransformNetwork,
        area_reduced,
        for_inference,
        has_fast_bf16,
        reflected,
        thin_layers,
        thumbnail,
    )
    from model_store.published_versions import NAME_PATTERN
    from model_store.remote.location import (
        SHIPPED,
        SHIPPED_STORE,
        Location,
        home_expanded,
        is_url,
        parse_location,
        split_locations,
    )
    from model_store.remote.opening import open_store
    from model_store.remote.version_cache import CacheSettings
    from model_store.store import ModelStore, StoredModel
else:
    from model_store.exports import import_name as __getattr__  # noqa: F401 # looks names up (PEP 562)

__all__ = [
    "NAME_PATTERN",
    "PRECISIONS",
    "PREVIEW_FILE",
    "SHIPPED",
    "SHIPPED_STORE",
    "STYLE",
    "UPSCALE_4",
    "UPSCALE_8",
    "Architecture",
    "ArchitectureError",
    "CacheSettings",
    "CorruptModel",
    "Draft",
    "Golden",
    "GoldenMismatch",
    "ImportedNetwork",
    "ImportedSpec",
    "LayerForm",
    "Location",
    "Manifest",
    "ModelStore",
    "Network",
    "NetworkSpec",
    "Provenance",
    "ReadOnlyStore",
    "StoreAway",
    "StoreError",
    "StoredModel",
    "TransformNetwork",
    "UnknownModel",
    "area_reduced",
    "describe_ignored_entries",
    "for_inference",
    "has_fast_bf16",
    "home_expanded",
    "is_url",
    "model_card",
    "open_store",
    "parse_location",
    "reflected",
    "split_locations",
    "thin_layers",
    "thumbnail",
]
