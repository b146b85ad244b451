"""The EXIF of a TIFF: tags of its first page, and of the directories that they point to."""

import io
from collections.abc import Mapping
from typing import Any

from PIL import Image
from PIL.ExifTags import IFD
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from service.errors import CorruptImage
from service.imaging.codecs.exif import EXIF_ERRORS
from service.imaging.codecs.tiff_directory import Directory, is_big, read_directory
from service.imaging.codecs.tiff_layout import Tag

PILLOWS_HEADER = b"II+\0" + bytes(12)
"""By which Pillow takes a directory for that of a BigTIFF; in big-endian order it takes none for one."""

POINTERS = (IFD.Exif, IFD.GPSInfo, IFD.Interop)
"""Tags that are places of directories; the last one is in the directory of the first."""


def read_tiff_exif(data: bytes) -> Image.Exif:
    """The EXIF of the first page, empty where it is damaged; an EXIF block is a TIFF file itself."""
    exif = Image.Exif()
    try:
        if is_big(data):
            _fill(exif, data)
        else:
            exif.load_from_fp(io.BytesIO(data))
    except (CorruptImage, *EXIF_ERRORS):
        return Image.Exif()
    return exif


def _fill(exif: Image.Exif, data: bytes) -> None:
    """Read from a BigTIFF, whose pointers are of a type that Pillow does not know (IFD8)."""
    page = read_directory(data)
    exif.endian = "<" if data.startswith(b"II") else ">"
    exif.update(_read_values(page))
    details = _follow(page, IFD.Exif)
    for name, source in zip(POINTERS, (page, page, details), strict=True):
        found = source and _follow(source, name)
        exif.get_ifd(name).update(_read_values(found, name) if found else {})


def _follow(directory: Directory, name: IFD) -> Directory | None:
    """The directory that a tag points to; None where it is missing or damaged."""
    try:
        return read_directory(directory.data, directory.integer(name))
    except CorruptImage:
        return None


def _read_values(directory: Directory, group: int | None = None) -> dict[int, Any]:
    """The tags of a directory, but those of a page's layout, pointers, and those that are damaged."""
    reader = ImageFileDirectory_v2(PILLOWS_HEADER, directory.data[:2], group)
    stream = io.BytesIO(directory.data)
    stream.seek(directory.place)
    reader.load(stream)
    left_out = {*POINTERS, *(() if group else Tag)}
    values = {tag: _read_value(reader, tag) for tag in reader if tag not in left_out}
    return {tag: value for tag, value in values.items() if value is not None}


def _read_value(directory: Mapping[int, Any], tag: int) -> Any:
    """A value, alone where there is one; None where it is damaged."""
    try:
        value = directory[tag]
    except EXIF_ERRORS:
        return None
    return value[0] if isinstance(value, tuple) and len(value) == 1 else value
