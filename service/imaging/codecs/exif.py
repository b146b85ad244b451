"""Reads EXIF that may be damaged: a photo is still good where its EXIF is not."""

import struct

from PIL import Image

ORIENTATION_TAG = 0x0112

TRANSPOSING_ORIENTATIONS = range(5, 9)
"""The orientations that swap rows and columns (EXIF 2.32, section 4.6.5)."""

EXIF_ERRORS = (SyntaxError, ValueError, TypeError, KeyError, OSError, OverflowError, AttributeError, struct.error)
"""What Pillow raises when it reads or writes damaged EXIF."""


def read_exif(image: Image.Image) -> Image.Exif:
    """The EXIF of an opened file, with the orientation from XMP where EXIF has none; empty where it is damaged."""
    try:
        return Image.Image.getexif(image)  # PngImageFile.getexif would decode the pixels
    except EXIF_ERRORS:
        return Image.Exif()


def read_orientation(exif: Image.Exif) -> int:
    """The orientation tag (EXIF 2.32, section 4.6.5); 1, upright, where it is missing or damaged."""
    try:
        return int(exif.get(ORIENTATION_TAG, 1))
    except EXIF_ERRORS:
        return 1
