from typing import Any

import pytest
from PIL import Image
from PIL.ExifTags import IFD, Base
from PIL.TiffImagePlugin import IFDRational

from service.photographs.metadata import LARGEST, Metadata, Policy, read_exif
from service.photographs.xmp import SourceType
from tests.service.photographs.samples import XMP, camera_exif


def attached(exif: Image.Exif, policy: Policy, xmp: bytes | None = None) -> Image.Exif:
    """What an answer of 40×30 pixels says, after it was written and read."""
    found = Metadata(exif, xmp).attached(policy, SourceType.PAINTED, 40, 30, srgb=False)
    again = Image.Exif()
    again.load(found.exif_bytes or b"")
    return again


def camera() -> Image.Exif:
    """As it is read from a file."""
    exif = Image.Exif()
    exif.load(camera_exif(6).tobytes())
    return exif


def test_nothing_is_kept_by_default() -> None:
    assert len(attached(camera(), Policy.STRIP)) == 0


def test_copyright_is_the_owner_alone() -> None:
    kept = attached(camera(), Policy.COPYRIGHT)
    assert dict(kept) == {Base.Artist: "Ansel", Base.Copyright: "(c) Ansel"}


def test_all_is_kept_upright_and_of_its_size() -> None:
    kept = attached(camera(), Policy.KEEP)
    assert (kept[Base.Make], kept[Base.Model], kept[Base.Orientation]) == ("Kamera", "K-1", 1)
    assert Base.ImageWidth not in kept
    details = kept.get_ifd(IFD.Exif)
    assert details[Base.ExposureTime] == 1 / 125
    assert details[IFD.MakerNote] == b"secret of the maker"
    assert (details[Base.ExifImageWidth], details[Base.ExifImageHeight]) == (40, 30)
    assert details[Base.ColorSpace] == 65_535
    assert kept.get_ifd(IFD.GPSInfo)[1] == "N"


def test_original_is_not_changed() -> None:
    exif = camera()
    attached(exif, Policy.KEEP)
    assert exif[Base.Orientation] == 6
    assert exif.get_ifd(IFD.Exif)[Base.ExifImageWidth] == 999


@pytest.mark.parametrize("tag", [Base.ExposureTime, Base.UserComment])
@pytest.mark.parametrize("value", [object(), -(10**12), "€" * 9])
def test_values_that_cannot_be_written_are_left_out(tag: Base, value: Any) -> None:
    exif = Image.Exif()
    exif[Base.Make] = "Kamera"
    exif[IFD.Exif] = {tag: value}
    exif._ifds[IFD.Exif] = {tag: value}
    assert attached(exif, Policy.KEEP)[Base.Make] == "Kamera"


def test_what_a_segment_has_no_room_for_is_left_out() -> None:
    exif = camera_exif()
    exif._ifds[IFD.Exif] = {IFD.MakerNote: bytes(LARGEST), Base.ExposureTime: IFDRational(1, 2)}
    details = attached(exif, Policy.KEEP).get_ifd(IFD.Exif)
    assert IFD.MakerNote not in details
    assert details[Base.ExposureTime] == 0.5
    long = XMP.replace(b"A &amp; B", b"x" * LARGEST)
    short = XMP.replace(b"xmp:Rating", b"xmp:Rating")
    for packet, rating in ((short, True), (long, False)):
        found = Metadata(Image.Exif(), packet).attached(Policy.KEEP, SourceType.PAINTED, 1, 1, srgb=True)
        assert (b"Rating" in found.xmp) == rating


@pytest.mark.parametrize("damage", [b"Exif\0\0MM\0", b"Exif\0\0junk that is no TIFF"])
def test_damaged_block_is_empty(damage: bytes) -> None:
    image = Image.new("RGB", (1, 1))
    image.info["exif"] = damage
    assert len(read_exif(image)) == 0
