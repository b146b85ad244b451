"""Image files to pixels and back.

The order is fixed: `inspect` reads the header only, limits are checked on it, and only then does `decode` allocate
memory for pixels; `encode` writes a file.
"""

from service.imaging.codecs.colour import ColourSpace
from service.imaging.codecs.configuration import configure_codecs
from service.imaging.codecs.decoding import decode
from service.imaging.codecs.encoding import encode, prepare_array, select_profile
from service.imaging.codecs.formats import EXTENSIONS, WRITTEN_FORMATS, ImageFormat, readable_types, writable_types
from service.imaging.codecs.header import ImageHeader, inspect
from service.imaging.codecs.limits import ImageLimits
from service.imaging.codecs.metadata import MetadataPolicy
from service.imaging.codecs.output_spec import DEFAULT_QUALITY, OutputSpec, Subsampling
from service.imaging.codecs.picture import DecodedImage, Picture
from service.imaging.codecs.quantization import read_quantization
from service.imaging.codecs.xmp import SourceType
from service.imaging.pixels import Pixels

__all__ = [
    "DEFAULT_QUALITY",
    "EXTENSIONS",
    "WRITTEN_FORMATS",
    "ColourSpace",
    "DecodedImage",
    "ImageFormat",
    "ImageHeader",
    "ImageLimits",
    "MetadataPolicy",
    "OutputSpec",
    "Picture",
    "Pixels",
    "SourceType",
    "Subsampling",
    "configure_codecs",
    "decode",
    "encode",
    "inspect",
    "prepare_array",
    "read_quantization",
    "readable_types",
    "select_profile",
    "writable_types",
]
