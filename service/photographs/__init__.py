"""Bytes to pixels and back: what a photograph is, apart from what is done with it. No HTTP, no torch.

The order is fixed: `inspect` reads the header and nothing else, limits are checked on it, and only then `decode` spends
memory; `encode` makes a file of the pictures again.
"""

from service.photographs.colour import ColourSpace
from service.photographs.decoding import decode
from service.photographs.encoding import encode
from service.photographs.formats import ImageFormat, readable_types, writable_types
from service.photographs.header import Header, inspect
from service.photographs.limits import Limits
from service.photographs.metadata import Policy
from service.photographs.negotiation import JSON, output_formats
from service.photographs.output import DEFAULT_QUALITY, Output, Subsampling
from service.photographs.picture import Photograph, Picture
from service.photographs.pixels import Pixels
from service.photographs.xmp import SourceType

__all__ = [
    "DEFAULT_QUALITY",
    "JSON",
    "ColourSpace",
    "Header",
    "ImageFormat",
    "Limits",
    "Output",
    "Photograph",
    "Picture",
    "Pixels",
    "Policy",
    "SourceType",
    "Subsampling",
    "decode",
    "encode",
    "inspect",
    "output_formats",
    "readable_types",
    "writable_types",
]
