"""Loads in advance what the codecs load when they are first used, so that all workers share its memory."""

import gc

import numpy as np

# What is sent to workers, which unpickling would import in each of them.
import service.imaging.style_transform
import service.imaging.upscale_transform
import service.imaging.workers.image_tasks  # noqa: F401
from service.imaging.codecs import DecodedImage, ImageHeader, OutputSpec, Picture, configure_codecs, decode, encode
from service.imaging.codecs.formats import WRITTEN_FORMATS, ImageFormat

SIDE = 8
"""Of the picture that is encoded and decoded, in pixels."""


def preload() -> None:
    """Encode a small picture in every format that is written, with 8 and with 16 bits, and decode it again."""
    configure_codecs()
    for kind in WRITTEN_FORMATS:
        for depth in (np.uint8, np.uint16) if kind.supports_16_bit else (np.uint8,):
            decode(_encode_black(kind, np.zeros((SIDE, SIDE, 3), depth)), keep_16_bit=True)
    gc.collect()
    gc.freeze()  # a collection in a worker would otherwise write to, and so copy, every page with an object


def _encode_black(kind: ImageFormat, pixels: np.ndarray) -> bytes:
    image = DecodedImage(ImageHeader(kind, SIDE, SIDE, has_alpha=False), iter(()))
    return encode([Picture(pixels)], image, kind, OutputSpec([kind]))
