"""Settings of the libraries under the codecs that hold for the whole process."""

import warnings

from PIL import Image


def configure_codecs() -> None:
    """Turn off Pillow's size limit and its warnings. The process calls this once, before it reads an image.

    `ImageLimits` replaces the size limit: Pillow's warns on standard error instead of refusing. It warns of damaged
    tags, too, of which a client is told by a CorruptImage where they matter. Its plugins are loaded now, as that opens
    files, for which there may be no descriptors later.
    """
    Image.init()
    Image.MAX_IMAGE_PIXELS = None
    warnings.filterwarnings("ignore", module=r"PIL\.")
