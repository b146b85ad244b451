import io
from typing import Any
from unittest.mock import Mock

import pytest
from PIL import Image
from PIL.ExifTags import GPS, IFD, Base
from PIL.PngImagePlugin import PngInfo
from PIL.TiffImagePlugin import IFDRational

from service.imaging.codecs import WRITTEN_FORMATS, ImageFormat
from service.imaging.codecs.exif import StoredText
from service.imaging.codecs.gif import read_xmp
from service.imaging.codecs.metadata import MAX_SEGMENT_BYTES, SUBJECT_AREA, Metadata, MetadataPolicy
from service.imaging.codecs.tiff_directory import read_directory
from service.imaging.codecs.xmp import Packet, SourceType
from tests.service.imaging.codecs.samples import XMP, camera, camera_exif, reencode
from tests.service.imaging.images import file, photo

INTEROP_FORMAT = 0x1000
"""The tag RelatedImageFileFormat, which the directory of interoperability has (EXIF 2.32, annex A)."""


def output_exif(exif: Image.Exif, policy: MetadataPolicy, xmp: bytes | None = None) -> Image.Exif:
    """The EXIF of an output of 40×30 pixels, written and read again."""
    found = Metadata(exif, xmp).for_output(policy, SourceType.STYLIZED, 40, 30, srgb=False)
    again = Image.Exif()
    again.load(found.exif_bytes or b"")
    return again


def test_strip_keeps_nothing() -> None:
    assert len(output_exif(camera(), MetadataPolicy.STRIP)) == 0


def test_copyright_keeps_the_owner_only() -> None:
    kept = output_exif(camera(), MetadataPolicy.COPYRIGHT)
    assert dict(kept) == {Base.Artist: "Ansel", Base.Copyright: "(c) Ansel"}


def test_keep_drops_the_orientation_and_updates_the_size() -> None:
    kept = output_exif(camera(), MetadataPolicy.KEEP)
    assert (kept[Base.Make], kept[Base.Model]) == ("Kamera", "K-1")
    assert Base.Orientation not in kept  # 1, upright
    assert Base.ImageWidth not in kept
    details = kept.get_ifd(IFD.Exif)
    assert details[Base.ExposureTime] == 1 / 125
    assert details[IFD.MakerNote] == b"secret of the maker"
    assert (details[Base.ExifImageWidth], details[Base.ExifImageHeight]) == (40, 30)
    assert details[Base.ColorSpace] == 65_535
    assert kept.get_ifd(IFD.GPSInfo)[1] == "N"


def test_tags_keep_their_types() -> None:
    source, exif = Image.Exif(), Image.Exif()
    unsigned, signed, text = IFDRational(1, 3), IFDRational(2, 3), b"ASCII\0\0\0ruhig"
    source[IFD.Exif] = {
        Base.ExposureTime: unsigned,
        Base.BrightnessValue: IFDRational(-1, 2),
        Base.ExposureBiasValue: signed,
        Base.UserComment: text,
        Base.SceneType: b"\1",
    }
    exif.load(source.tobytes())
    written = Metadata(exif).for_output(MetadataPolicy.KEEP, SourceType.STYLIZED, 40, 30, srgb=True).exif_bytes or b""
    block = written.removeprefix(b"Exif\0\0")
    details = read_directory(block, read_directory(block).integer(IFD.Exif))
    kinds = {Base(tag).name: entry.kind for tag, entry in details.entries.items()}
    assert kinds == {
        "ExposureTime": 5,
        "BrightnessValue": 10,
        "ExposureBiasValue": 10,
        "UserComment": 7,
        "SceneType": 7,
    }
    again = Image.Exif()
    again.load(written)
    found = again.get_ifd(IFD.Exif)
    assert (found[Base.ExposureTime], found[Base.ExposureBiasValue], found[Base.UserComment]) == (
        unsigned,
        signed,
        text,
    )


@pytest.mark.parametrize("policy", [MetadataPolicy.COPYRIGHT, MetadataPolicy.KEEP])
def test_creator_and_rights_of_exif_are_kept_in_a_format_without_it(policy: MetadataPolicy) -> None:
    exif = Image.Exif()
    exif[Base.Artist], exif[Base.Copyright] = StoredText("J\xc3\xb6rg"), "(c) Ansel"
    data = reencode(file(photo(), exif=exif.tobytes()), ImageFormat.GIF, metadata=policy)
    packet = read_xmp(data) or b""
    assert "<rdf:li>Jörg</rdf:li>".encode() in packet
    assert b"(c) Ansel</rdf:li>" in packet
    named = reencode(file(photo(), "JPEG", exif=exif.tobytes(), xmp=XMP), ImageFormat.GIF, metadata=policy)
    assert "Jörg".encode() not in (read_xmp(named) or b"")


@pytest.mark.parametrize("srgb", [False, True])
def test_adobe_rgb_is_marked_where_it_is(*, srgb: bool) -> None:
    exif = Image.Exif()
    exif[IFD.Exif] = {Base.ColorSpace: 65_535, IFD.Interop: {1: "R03"}}
    given, kept = Image.Exif(), Image.Exif()
    given.load(exif.tobytes())
    found = Metadata(given).for_output(MetadataPolicy.KEEP, SourceType.STYLIZED, 1, 1, srgb=srgb)
    kept.load(found.exif_bytes or b"")
    assert Metadata(kept).is_adobe_rgb != srgb


def test_keep_drops_places_in_pixels_of_the_input() -> None:
    exif = camera()
    exif.get_ifd(IFD.Exif)[SUBJECT_AREA] = (10, 10, 4, 4)
    exif.get_ifd(IFD.Exif)[Base.SubjectLocation] = (10, 10)
    details = output_exif(exif, MetadataPolicy.KEEP).get_ifd(IFD.Exif)
    assert Base.ExposureTime in details
    assert {SUBJECT_AREA, Base.SubjectLocation}.isdisjoint(details)


def test_original_is_not_changed() -> None:
    exif = camera()
    output_exif(exif, MetadataPolicy.KEEP)
    assert exif[Base.Orientation] == 6
    assert exif.get_ifd(IFD.Exif)[Base.ExifImageWidth] == 999


def jpeg_with_text(stored: bytes) -> bytes:
    """A JPEG that has that text in several directories of its EXIF."""
    exif, text = Image.Exif(), "x" * len(stored)
    exif[Base.Artist] = exif[Base.Copyright] = exif[Base.ImageDescription] = text
    exif[IFD.Exif] = {Base.LensModel: text, IFD.Interop: {INTEROP_FORMAT: text}}
    exif[IFD.GPSInfo] = {GPS.GPSMapDatum: text}
    return file(photo(), "JPEG", exif=exif).replace(text.encode(), stored)


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
@pytest.mark.parametrize("kind", [kind for kind in WRITTEN_FORMATS if kind is not ImageFormat.GIF])
def test_text_keeps_its_bytes_in_every_format(kind: ImageFormat, encoding: str) -> None:
    stored = "© 2024 Jörg Müller".encode(encoding)
    given, shown = jpeg_with_text(stored), stored.decode("latin-1")  # as Pillow reads it
    owner = Image.open(io.BytesIO(reencode(given, kind, metadata=MetadataPolicy.COPYRIGHT))).getexif()
    assert (owner[Base.Artist], owner[Base.Copyright]) == (shown, shown)
    kept = Image.open(io.BytesIO(reencode(given, kind, metadata=MetadataPolicy.KEEP))).getexif()
    assert kept[Base.ImageDescription] == kept[Base.Copyright] == shown
    assert kept.get_ifd(IFD.Exif)[Base.LensModel] == shown
    assert kept.get_ifd(IFD.GPSInfo)[GPS.GPSMapDatum] == shown
    assert kept.get_ifd(IFD.Interop)[INTEROP_FORMAT] == shown


@pytest.mark.parametrize(("order", "encoding"), [("<", "utf-16-le"), (">", "utf-16-be")])
@pytest.mark.parametrize("kind", [kind for kind in WRITTEN_FORMATS if kind is not ImageFormat.GIF])
def test_order_of_bytes_is_that_of_texts_in_utf_16(kind: ImageFormat, order: str, encoding: str) -> None:
    exif = Image.Exif()
    exif.endian = order
    exif[IFD.Exif] = {Base.UserComment: b"UNICODE\0" + "你好".encode(encoding)}
    given = file(photo(), "JPEG", exif=exif)
    for data in (given, reencode(given, ImageFormat.TIFF, metadata=MetadataPolicy.KEEP)):
        kept = Image.open(io.BytesIO(reencode(data, kind, metadata=MetadataPolicy.KEEP))).getexif()
        comment = kept.get_ifd(IFD.Exif)[Base.UserComment]
        assert comment.decode("utf-16-le" if kept.endian == "<" else "utf-16-be").endswith("你好")


@pytest.mark.parametrize("tag", [Base.ExposureTime, Base.UserComment])
@pytest.mark.parametrize("value", [object(), -(10**12), "€" * 9])
def test_values_that_cannot_be_written_are_left_out(tag: Base, value: Any) -> None:
    exif = camera()
    exif.get_ifd(IFD.Exif)[tag] = value
    assert exif.get_ifd(IFD.Exif)[tag] is value
    assert output_exif(exif, MetadataPolicy.KEEP)[Base.Make] == "Kamera"


@pytest.mark.parametrize("policy", [MetadataPolicy.KEEP, MetadataPolicy.COPYRIGHT])
@pytest.mark.parametrize("value", [IFDRational(1, 3), 1.5, object()])
@pytest.mark.parametrize("tag", [Base.Artist, Base.Copyright, Base.XResolution, Base.XPTitle])
def test_tag_of_a_wrong_type_costs_only_itself(policy: MetadataPolicy, value: Any, tag: Base) -> None:
    exif = camera()
    exif[tag] = value
    kept = output_exif(exif, policy)
    assert (Base.Make in kept) == (policy is MetadataPolicy.KEEP)
    assert set(kept) >= {Base.Artist, Base.Copyright} - {tag}


def test_metadata_larger_than_a_segment_is_left_out() -> None:
    exif = Image.Exif()
    source = camera_exif()
    source[IFD.Exif] = {IFD.MakerNote: bytes(MAX_SEGMENT_BYTES), Base.ExposureTime: IFDRational(1, 2)}
    exif.load(source.tobytes())
    details = output_exif(exif, MetadataPolicy.KEEP).get_ifd(IFD.Exif)
    assert IFD.MakerNote not in details
    assert details[Base.ExposureTime] == 0.5
    long = XMP.replace(b"A &amp; B", b"x" * MAX_SEGMENT_BYTES)
    for packet, rating in ((XMP, True), (long, False)):
        found = Metadata(Image.Exif(), packet).for_output(MetadataPolicy.KEEP, SourceType.STYLIZED, 1, 1, srgb=True)
        assert (b"Rating" in found.xmp) == rating


@pytest.mark.parametrize("policy", [MetadataPolicy.KEEP, MetadataPolicy.COPYRIGHT])
def test_owner_that_is_larger_than_a_segment_is_left_out(policy: MetadataPolicy) -> None:
    exif, half = Image.Exif(), "x" * (MAX_SEGMENT_BYTES // 2)
    exif[Base.Artist], exif[Base.Copyright] = half, half
    texts = PngInfo()
    texts.add_itxt("XML:com.adobe.xmp", XMP.replace(b"A &amp; B", b"x" * MAX_SEGMENT_BYTES).decode())
    answer = Image.open(
        io.BytesIO(reencode(file(photo(), exif=exif, pnginfo=texts), ImageFormat.JPEG, metadata=policy))
    )
    assert set(answer.getexif()) & {Base.Artist, Base.Copyright} == {Base.Copyright}
    assert SourceType.STYLIZED.uri.encode() in answer.info["xmp"]


def test_owner_is_taken_from_iptc_where_xmp_names_none() -> None:
    iptc = {"creator": ["Ansel Ü", "B"], "rights": ["© Ansel"]}
    other = XMP.replace(b"photos:creator", b"photos:contributor").replace(b"photos:rights", b"photos:source")
    for packet in (None, other):
        for policy in (MetadataPolicy.COPYRIGHT, MetadataPolicy.KEEP):
            found = Metadata(Image.Exif(), packet, iptc).for_output(policy, SourceType.STYLIZED, 1, 1, srgb=True).xmp
            assert all(text.encode() in found for text in ("<rdf:li>Ansel Ü</rdf:li><rdf:li>B</rdf:li>", "© Ansel"))
    assert b"Ansel" not in Metadata(Image.Exif(), None, iptc).for_output(
        MetadataPolicy.STRIP, SourceType.STYLIZED, 1, 1, srgb=True
    ).xmp  # fmt: skip


@pytest.mark.parametrize("policy", [MetadataPolicy.COPYRIGHT, MetadataPolicy.KEEP])
def test_xmp_takes_precedence_over_iptc(policy: MetadataPolicy) -> None:
    iptc = {"creator": ["Older"]}
    found = Metadata(Image.Exif(), XMP, iptc).for_output(policy, SourceType.STYLIZED, 1, 1, srgb=True).xmp
    assert b"Older" not in found
    assert b"A &amp; B" in found


@pytest.mark.parametrize(
    ("policy", "source_type", "is_read"),
    [
        (MetadataPolicy.STRIP, SourceType.STYLIZED, False),
        (MetadataPolicy.STRIP, SourceType.UPSCALED, True),
        (MetadataPolicy.COPYRIGHT, SourceType.STYLIZED, True),
    ],
)
def test_a_packet_that_does_not_count_is_not_parsed(
    monkeypatch: pytest.MonkeyPatch, policy: MetadataPolicy, source_type: SourceType, is_read: bool
) -> None:
    parse = Mock(wraps=Packet.parse)
    monkeypatch.setattr(Packet, "parse", parse)
    Metadata(Image.Exif(), XMP).for_output(policy, source_type, 40, 30, srgb=True)
    assert parse.called is is_read
