"""Reads EXIF that may be damaged: a photo is still good where its EXIF is not."""

import struct
from typing import Any

from PIL import Image
from PIL.ExifTags import IFD, Base
from PIL.TiffImagePlugin import IFDRational

ORIENTATION_TAG = 0x0112

TRANSPOSING_ORIENTATIONS = range(5, 9)
"""The orientations that swap rows and columns (EXIF 2.32, section 4.6.5)."""

XMP_NAMES = ("xmp", "XML:com.adobe.xmp", "Raw profile type xmp")
"""Under which Pillow keeps the XMP of an opened file."""

EXIF_ERRORS = (SyntaxError, ValueError, TypeError, KeyError, OSError, OverflowError, AttributeError, struct.error)
"""What Pillow raises when it reads or writes damaged EXIF."""


UNDEFINED_TAGS = frozenset(
    {
        Base.OECF,
        Base.ComponentsConfiguration,
        IFD.MakerNote,
        Base.UserComment,
        Base.SpatialFrequencyResponse,
        Base.FileSource,
        Base.SceneType,
        Base.DeviceSettingDescription,
    }
)
SIGNED_TAGS = frozenset({Base.ShutterSpeedValue, Base.BrightnessValue, Base.ExposureBiasValue})
"""Tags of the types UNDEFINED and SRATIONAL (EXIF 2.32, section 4.6.5) that Pillow does not know: it writes BYTE and
RATIONAL."""


class SignedRational(IFDRational):
    """A fraction that Pillow writes as SRATIONAL, which it takes for those below zero."""

    def __lt__(self, other: object) -> bool:
        return True

    __hash__ = IFDRational.__hash__


class StoredText(str):
    """A text of EXIF as Pillow reads it: each character stands for a byte of the file, whatever encoding was meant.

    Pillow, which would write question marks for all but ASCII, writes the same bytes again.
    """

    __slots__ = ()

    def encode(self, encoding: str = "latin-1", errors: str = "strict") -> bytes:  # noqa: ARG002 # Pillow asks for ASCII
        """The bytes of the file. Raises UnicodeEncodeError for a text that is from no file."""
        return super().encode("latin-1")


def preserve_value(tag: int, value: Any) -> Any:
    """The value of a tag such that Pillow writes its type, and the bytes of a text, unchanged."""
    if tag in UNDEFINED_TAGS and isinstance(value, bytes):
        return (bytearray(value),)
    if tag in SIGNED_TAGS and isinstance(value, IFDRational):
        return SignedRational(value)
    return StoredText(value) if isinstance(value, str) else value


def read_exif(image: Image.Image) -> Image.Exif:
    """The EXIF of an opened file; empty where it is damaged.

    Pillow takes an orientation from XMP where EXIF has none. No browser does, nor libvips: many programs turn a photo
    upright, remove its EXIF, and leave the XMP as it was.
    """
    xmp = {name: image.info.pop(name) for name in XMP_NAMES if name in image.info}
    try:
        return Image.Image.getexif(image)  # PngImageFile.getexif would decode the pixels
    except EXIF_ERRORS:
        return Image.Exif()
    finally:
        image.info.update(xmp)


def read_orientation(exif: Image.Exif) -> int:
    """The orientation tag (EXIF 2.32, section 4.6.5); 1, upright, where it is missing or damaged."""
    try:
        return int(exif.get(ORIENTATION_TAG, 1))
    except EXIF_ERRORS:
        return 1
