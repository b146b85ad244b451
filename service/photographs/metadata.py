"""What a file says of its picture, and how much of that its answer says."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from PIL import Image
from PIL.ExifTags import IFD, Base
from PIL.IptcImagePlugin import getiptcinfo

from service.photographs.exif import DAMAGED
from service.photographs.xmp import Packet, SourceType

DESCRIPTIVE = frozenset(
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
"""Tags of an image that are true of its answer too: not those of its file, which in a TIFF stand beside them."""

OF_THE_OWNER = frozenset({Base.Artist, Base.Copyright})

OF_IPTC = {(2, 80): "creator", (2, 110): "Credit", (2, 116): "rights"}
"""Datasets of IPTC-IIM, and the properties of XMP that they are (IPTC Photo Metadata Standard)."""

LARGEST = 60_000
"""Bytes of EXIF, or of XMP, that a JPEG has room for in one segment, and some to spare."""

SRGB, UNCALIBRATED = 1, 65_535
"""Values of EXIF's ColorSpace (EXIF 2.32, section 4.6.5)."""


class Policy(StrEnum):
    """How much an answer says of what its photograph's file says."""

    STRIP = "strip"
    COPYRIGHT = "copyright"
    KEEP = "keep"


@dataclass(frozen=True)
class Attached:
    """What stands in the file of an answer, beside its picture."""

    exif: Image.Exif
    xmp: bytes

    @property
    def exif_bytes(self) -> bytes | None:
        """The block as JPEG, PNG, WebP and AVIF take it; None where it would be empty."""
        return self.exif.tobytes() if len(self.exif) else None


@dataclass(frozen=True)
class Metadata:
    """EXIF, XMP and IPTC as a file has them."""

    exif: Image.Exif = field(default_factory=Image.Exif)
    xmp: bytes | None = None
    iptc: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """What an older block says of the owner, by XMP's names of it."""

    @property
    def is_adobe_rgb(self) -> bool:
        """Whether a camera says by EXIF alone that it worked in Adobe RGB (DCF 2.0, optional colour space)."""
        return str(self._ifd(IFD.Interop).get(1, "")).startswith("R03")

    def attached(self, policy: Policy, made: SourceType, width: int, height: int, *, srgb: bool) -> Attached:
        """What an answer of that size says: of its origin always, of its owner and of all else as the policy has it.

        KEEP alone tells where a photograph was taken.
        """
        packet = Packet.parsed(self.xmp, self.iptc)
        kind = packet.source_type(made)
        if policy is Policy.STRIP:
            return Attached(Image.Exif(), Packet().of_the_owner(kind))
        owner = Attached(self._chosen(OF_THE_OWNER), packet.of_the_owner(kind))
        if policy is Policy.COPYRIGHT:
            return owner
        xmp = packet.kept(kind)
        exif = next(filter(_can_be_written, self._fullest(width, height, srgb)), owner.exif)
        return Attached(exif, xmp if len(xmp) <= LARGEST else owner.xmp)

    def _fullest(self, width: int, height: int, srgb: bool) -> Iterator[Image.Exif]:
        """All that is descriptive, upright and of that size, without the old thumbnail; then less and less of it."""
        exif = self._chosen(DESCRIPTIVE)
        exif[Base.Orientation] = 1
        details = self._ifd(IFD.Exif) | ({IFD.Interop: interop} if (interop := self._ifd(IFD.Interop)) else {})
        true_now = {
            Base.ExifImageWidth: width,
            Base.ExifImageHeight: height,
            Base.ColorSpace: SRGB if srgb else UNCALIBRATED,
        }
        details |= {tag: value for tag, value in true_now.items() if tag in details}
        place = self._ifd(IFD.GPSInfo)
        without_maker = {tag: value for tag, value in details.items() if tag != IFD.MakerNote}
        for ifds in ((details, place), (without_maker, place), ({}, place), ({}, {})):
            yield _with(exif, dict(zip((IFD.Exif, IFD.GPSInfo), ifds, strict=True)))

    def _chosen(self, tags: frozenset[Base]) -> Image.Exif:
        chosen = Image.Exif()
        for tag in sorted(tags & set(self.exif)):
            chosen[tag] = self.exif[tag]
        return chosen

    def _ifd(self, tag: int) -> dict[int, Any]:
        """A block of tags within the tags; empty where it is not there, or damaged."""
        try:
            return dict(self.exif.get_ifd(tag))
        except DAMAGED:
            return {}


def read_iptc(image: Image.Image) -> dict[str, list[str]]:
    """What the IPTC block of an opened JPEG says of its owner (IPTC-IIM 4.2, section 6), by XMP's names of it."""
    try:
        found = getiptcinfo(image) or {}  # type: ignore[arg-type] # any image may be asked
    except DAMAGED:
        return {}
    texts = {name: _texts(found.get(dataset)) for dataset, name in OF_IPTC.items()}
    return {name: values for name, values in texts.items() if values}


def _texts(values: bytes | list[bytes] | None) -> list[str]:
    """In UTF-8, as all write it today, or in the code that was usual before."""
    listed = [values] if isinstance(values, bytes) else values or []
    return [text for value in listed if (text := _text(value).strip())]


def _text(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")


def _with(exif: Image.Exif, ifds: dict[IFD, dict[int, Any]]) -> Image.Exif:
    whole = Image.Exif()
    for tag, value in (*exif.items(), *((tag, ifd) for tag, ifd in ifds.items() if ifd)):
        whole[tag] = value
    return whole


def _can_be_written(exif: Image.Exif) -> bool:
    """Whether its values are what their tags may have, and not too many."""
    try:
        return len(exif.tobytes()) <= LARGEST
    except DAMAGED:
        return False
