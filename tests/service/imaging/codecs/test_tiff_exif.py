import io
import struct

import pytest
from PIL import Image
from PIL.ExifTags import GPS, IFD, Base

from service.imaging.codecs import ImageFormat, decode
from service.imaging.codecs.metadata import MetadataPolicy
from service.imaging.codecs.tiff_exif import read_tiff_exif
from service.imaging.codecs.tiff_layout import Tag
from tests.service.imaging.codecs.samples import camera, reencode
from tests.service.imaging.codecs.tiff_samples import RATIONAL, Value, make_directory, make_tiff
from tests.service.imaging.images import file, photo

ASCII, LONG, IFD4, LONG8, IFD8 = 2, 4, 13, 16, 18
PIXELS, FIRST = bytes(768), 16


def big_tiff(order: str, pointer: int = IFD8, *, cut: int = 0) -> bytes:
    """A BigTIFF with directories of EXIF, GPS and interoperability, whose places are values of the type `pointer`."""

    def point(at: int) -> Value:
        return pointer, 1, struct.pack(order + ("Q" if pointer in (LONG8, IFD8) else "I"), at).ljust(8, b"\0")

    def text(value: bytes) -> Value:
        return ASCII, len(value), value.ljust(8, b"\0")

    at = FIRST + len(PIXELS)
    gps = make_directory({GPS.GPSLatitudeRef: text(b"N\0")}, at, big=True, order=order)
    interop = make_directory({1: text(b"R03\0")}, at + len(gps), big=True, order=order)
    exposure: Value = (RATIONAL, 1, struct.pack(order + "II", 1, 125))
    values: dict[int, Value] = {Base.ExposureTime: exposure, IFD.Interop: point(at + len(gps))}
    details = make_directory(values, at + len(gps) + len(interop), big=True, order=order)
    page: dict[int, Value] = {
        Tag.STRIP_OFFSETS: FIRST,
        Tag.STRIP_BYTE_COUNTS: len(PIXELS),
        Base.Artist: text(b"Ansel\0"),
        IFD.Exif: point(at + len(gps) + len(interop) + cut),
        IFD.GPSInfo: point(at),
    }
    return make_tiff([PIXELS, gps, interop, details], page, big=True, order=order)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("pointer", [LONG, IFD4, LONG8, IFD8])
def test_exif_of_a_big_tiff_is_read(order: str, pointer: int) -> None:
    exif = decode(big_tiff(order, pointer)).metadata.exif
    assert exif[Base.Artist] == "Ansel"
    assert exif.get_ifd(IFD.Exif)[Base.ExposureTime] == 1 / 125
    assert exif.get_ifd(IFD.GPSInfo) == {GPS.GPSLatitudeRef: "N"}
    assert exif.get_ifd(IFD.Interop) == {1: "R03"}


@pytest.mark.parametrize("big", [False, True])
def test_exif_of_a_tiff_is_kept(*, big: bool) -> None:
    data = file(photo(), "TIFF", exif=camera(), big_tiff=big)
    assert data[2] == (43 if big else 42)
    kept = Image.open(io.BytesIO(reencode(data, ImageFormat.JPEG, metadata=MetadataPolicy.KEEP))).getexif()
    assert (kept[Base.Artist], kept[Base.Copyright]) == ("Ansel", "(c) Ansel")
    assert kept.get_ifd(IFD.Exif)[Base.ExposureTime] == 1 / 125
    assert kept.get_ifd(IFD.GPSInfo)[1] == "N"


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("cut", [3, 2**40])
def test_a_broken_directory_costs_no_other(order: str, cut: int) -> None:
    exif = read_tiff_exif(big_tiff(order, cut=cut))
    assert exif[Base.Artist] == "Ansel"
    assert exif.get_ifd(IFD.GPSInfo) == {GPS.GPSLatitudeRef: "N"}
    assert not exif.get_ifd(IFD.Interop)
