"""Small pictures and files for tests."""

import io
from typing import Any

import numpy as np
from PIL import Image

from service.imaging.pixels import Pixels


def photo(seed: int = 0, height: int = 24, width: int = 32) -> Pixels:
    """A smooth random picture, uint8 (height, width, 3)."""
    coarse = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), np.uint8)
    return np.array(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))


def file(image: Image.Image | Pixels, kind: str = "PNG", **options: Any) -> bytes:
    """Encode with Pillow, and with Pillow's options for that format."""
    made = image if isinstance(image, Image.Image) else Image.fromarray(image)
    stream = io.BytesIO()
    made.save(stream, kind, **options)
    return stream.getvalue()
