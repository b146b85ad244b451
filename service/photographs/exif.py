"""EXIF as a file has it, damaged or not: a photograph is not lost for it."""

import struct

from PIL import Image

ORIENTATION_TAG = 0x0112

DAMAGED = (SyntaxError, ValueError, TypeError, KeyError, OSError, OverflowError, AttributeError, struct.error)
"""What reading and writing blocks of EXIF that are no blocks of EXIF raises."""


def read_exif(image: Image.Image) -> Image.Exif:
    """That of an opened file, with XMP's orientation where it has none; empty where it is damaged."""
    try:
        return Image.Image.getexif(image)  # PNG's own would decode the pixels
    except DAMAGED:
        return Image.Exif()


def orientation(exif: Image.Exif) -> int:
    """The value of its tag (EXIF 2.32, section 4.6.5), 1 where there is none that makes sense."""
    try:
        return int(exif.get(ORIENTATION_TAG, 1))
    except DAMAGED:
        return 1
