"""Settings of the libraries under the codecs that hold for the whole process."""

import logging

from PIL import Image


def configure_codecs() -> None:
    """Turn off Pillow's size limit and tifffile's log. The process calls this once, before it reads an image.

    `ImageLimits` replaces the size limit: Pillow's warns on standard error instead of refusing. tifffile logs an error
    for every damaged file, which the client is told of by a CorruptImage.
    """
    Image.MAX_IMAGE_PIXELS = None
    logging.getLogger("tifffile").setLevel(logging.CRITICAL)
