"""Transform networks: their notation, three forms of padding, and rewrites for fast inference."""

from model_store.networks.architecture import STYLE, UPSCALE_4, UPSCALE_8, Architecture, ArchitectureError
from model_store.networks.geometry import Geometry
from model_store.networks.imported import ImportedNetwork, ImportedSpec
from model_store.networks.inference_rewrites import for_inference, thin_layers
from model_store.networks.layers import reflected
from model_store.networks.network import Network
from model_store.networks.precision import PRECISIONS, has_fast_bf16
from model_store.networks.reduction import area_reduced, thumbnail
from model_store.networks.thin_layers import LayerForm
from model_store.networks.transform import NetworkSpec, TransformNetwork

__all__ = [
    "PRECISIONS",
    "STYLE",
    "UPSCALE_4",
    "UPSCALE_8",
    "Architecture",
    "ArchitectureError",
    "Geometry",
    "ImportedNetwork",
    "ImportedSpec",
    "LayerForm",
    "Network",
    "NetworkSpec",
    "TransformNetwork",
    "area_reduced",
    "for_inference",
    "has_fast_bf16",
    "reflected",
    "thin_layers",
    "thumbnail",
]
