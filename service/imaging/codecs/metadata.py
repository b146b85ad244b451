"""EXIF, XMP and IPTC of a photo, and how much of them an output gets."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from PIL import Image
from PIL.ExifTags import IFD, Base

from service.imaging.codecs.exif import EXIF_ERRORS, StoredText, preserve_value
from service.imaging.codecs.iptc import decode_text
from service.imaging.codecs.xmp import Packet, SourceType

DESCRIPTIVE_TAGS = frozenset(
    {
        Base.ImageDescription,
        Base.Make,
        Base.Model,
        Base.XResolution,
        Base.YResolution,
        Base.ResolutionUnit,
        Base.Software,
        Base.DateTime,
        Base.Artist,
        Base.HostComputer,
        Base.Rating,
        Base.RatingPercent,
        Base.XPTitle,
        Base.XPComment,
        Base.XPAuthor,
        Base.XPKeywords,
        Base.XPSubject,
        Base.Copyright,
    }
)
"""Tags that hold for the output as well. Tags of the file's layout, which a TIFF has in the same directory, do not."""

OWNER_TAGS = frozenset({Base.Artist, Base.Copyright})

OWNER_PROPERTIES = {Base.Artist: "creator", Base.Copyright: "rights"}
"""The same by their names in XMP."""

MAX_SEGMENT_BYTES = 60_000
"""Largest EXIF or XMP that is written: a JPEG segment holds 65,533 bytes, with an identifier."""

SUBJECT_AREA = 0x9214
LEFT_TAGS = frozenset({SUBJECT_AREA, Base.SubjectLocation, IFD.Interop})
"""Tags that count in pixels, or in bytes, of the input, as they are stored (EXIF 2.32, section 4.6.5)."""

EXIF_SRGB, EXIF_UNCALIBRATED = 1, 65_535
"""Values of EXIF's ColorSpace (EXIF 2.32, section 4.6.5)."""


class MetadataPolicy(StrEnum):
    """How much of a photo's metadata its output gets: none, creator and rights, or all."""

    STRIP = "strip"
    COPYRIGHT = "copyright"
    KEEP = "keep"


@dataclass(frozen=True)
class OutputMetadata:
    """The metadata to write into an output."""

    exif: Image.Exif
    xmp: bytes

    @property
    def exif_bytes(self) -> bytes | None:
        """The EXIF block of JPEG, PNG, WebP and AVIF; None where it would be empty."""
        return self.exif.tobytes() if len(self.exif) else None


@dataclass(frozen=True)
class Metadata:
    """The metadata of a file."""

    exif: Image.Exif = field(default_factory=Image.Exif)
    xmp: bytes | None = None
    iptc: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """What IPTC-IIM says of creator and rights, by XMP's names for it."""

    @property
    def is_adobe_rgb(self) -> bool:
        """Whether a camera marks its pixels as Adobe RGB by EXIF alone (DCF 2.0, optional colour space)."""
        return str(self._read_ifd(IFD.Interop).get(1, "")).startswith("R03")

    def without_exif(self) -> "Metadata":
        """What is left where no output needs the tags, whose values may lie in the whole file."""
        return replace(self, exif=Image.Exif())

    def with_owner_in_xmp(self) -> "Metadata":
        """That for a format without EXIF: what it says of creator and rights counts where XMP and IPTC say nothing."""
        texts = {name: _read_value(self.exif, tag) for tag, name in OWNER_PROPERTIES.items() if tag in self.exif}
        owner = {name: [decode_text(text.encode())] for name, text in texts.items() if isinstance(text, StoredText)}
        return replace(self, iptc=owner | dict(self.iptc))

    def for_output(
        self, policy: MetadataPolicy, source_type: SourceType, width: int, height: int, *, srgb: bool
    ) -> OutputMetadata:
        """The metadata of an output of that size, in sRGB or in another space.

        It always has the digital source type. The GPS position is copied by KEEP only.
        """
        is_read = policy is not MetadataPolicy.STRIP or source_type is SourceType.UPSCALED
        packet = Packet.parse(self.xmp, self.iptc) if is_read else Packet()
        resolved = packet.resolve_source_type(source_type)
        if policy is MetadataPolicy.STRIP:
            return OutputMetadata(Image.Exif(), Packet().write_owner(resolved))
        owner = self._select_owner(packet, resolved)
        if policy is MetadataPolicy.COPYRIGHT:
            return owner
        xmp = packet.write_all(resolved)
        exif = next(filter(_is_writable, self._exif_candidates(width, height, srgb)), owner.exif)
        return OutputMetadata(exif, xmp if len(xmp) <= MAX_SEGMENT_BYTES else owner.xmp)

    def _select_owner(self, packet: Packet, source_type: SourceType) -> OutputMetadata:
        """Creator and rights, as far as a segment has room for them."""
        candidates = (self._select_tags(tags) for tags in (OWNER_TAGS, OWNER_TAGS - {Base.Artist}, frozenset[Base]()))
        xmp = packet.write_owner(source_type)
        short = xmp if len(xmp) <= MAX_SEGMENT_BYTES else Packet().write_owner(source_type)
        return OutputMetadata(next(filter(_is_writable, candidates)), short)

    def _exif_candidates(self, width: int, height: int, srgb: bool) -> Iterator[Image.Exif]:
        """All descriptive tags without the thumbnail, with less and less beside them: maker note, details, GPS.

        There is no orientation, as outputs are upright: where there is one, Pillow's AVIF writer makes the EXIF anew,
        and loses texts that are not ASCII.
        """
        tags = self._select_tags(DESCRIPTIVE_TAGS)
        details, gps = self._updated_details(width, height, srgb), self._read_ifd(IFD.GPSInfo)
        without_maker_note = {tag: value for tag, value in details.items() if tag != IFD.MakerNote}
        for exif_ifd, gps_ifd in ((details, gps), (without_maker_note, gps), ({}, gps), ({}, {})):
            yield _add_ifds(tags, {IFD.Exif: exif_ifd, IFD.GPSInfo: gps_ifd})

    def _updated_details(self, width: int, height: int, srgb: bool) -> dict[int, Any]:
        """The Exif IFD without places in the picture, and with size and colour space replaced where it has them.

        What marks Adobe RGB is left out where the output is in sRGB.
        """
        details = {tag: value for tag, value in self._read_ifd(IFD.Exif).items() if tag not in LEFT_TAGS}
        interop = self._read_ifd(IFD.Interop)
        if interop and not (srgb and self.is_adobe_rgb):
            details[IFD.Interop] = interop
        updates = {
            Base.ExifImageWidth: width,
            Base.ExifImageHeight: height,
            Base.ColorSpace: EXIF_SRGB if srgb else EXIF_UNCALIBRATED,
        }
        return details | {tag: value for tag, value in updates.items() if tag in details}

    def _select_tags(self, tags: frozenset[Base]) -> Image.Exif:
        """Those of the tags that the file has with a value that can be written; in its order of bytes.

        That is also the one of what is inside of values: texts in UTF-16, and maker notes (EXIF 2.32, section 4.6.5).
        """
        selected = _empty_exif(self.exif.endian)
        for tag in sorted(tags & set(self.exif)):
            value = _read_value(self.exif, tag)
            if value is not None and _is_writable(_single_tag(tag, value)):
                selected[tag] = value
        return selected

    def _read_ifd(self, tag: int) -> dict[int, Any]:
        """The directory that a tag points to; empty where it is missing or damaged."""
        try:
            return {name: preserve_value(name, value) for name, value in self.exif.get_ifd(tag).items()}
        except EXIF_ERRORS:
            return {}


def _read_value(exif: Image.Exif, tag: int) -> Any:
    """The value of a tag; None where it is damaged."""
    try:
        return preserve_value(tag, exif[tag])
    except EXIF_ERRORS:
        return None


def _single_tag(tag: int, value: Any) -> Image.Exif:
    result = Image.Exif()
    result[tag] = value
    return result


def _empty_exif(endian: str | None) -> Image.Exif:
    """EXIF without tags, to be written in that order of bytes."""
    result = Image.Exif()
    result.endian = endian
    return result


def _add_ifds(exif: Image.Exif, ifds: Mapping[IFD, Mapping[int, Any]]) -> Image.Exif:
    """A copy with further directories; empty ones are left out."""
    result = _empty_exif(exif.endian)
    for tag, value in (*exif.items(), *((tag, ifd) for tag, ifd in ifds.items() if ifd)):
        result[tag] = value
    return result


def _is_writable(exif: Image.Exif) -> bool:
    """Whether Pillow can write every value, and the block fits into a JPEG segment."""
    try:
        return len(exif.tobytes()) <= MAX_SEGMENT_BYTES
    except EXIF_ERRORS:
        return False
