import pytest

from service.errors import MalformedBody, UnsupportedImage
from service.imaging.codecs import ImageFormat, readable_types, writable_types
from service.imaging.codecs.formats import sniff


@pytest.mark.parametrize(
    ("begin", "kind"),
    [
        (b"\xff\xd8\xff\xe0", ImageFormat.JPEG),
        (b"\x89PNG\r\n\x1a\n", ImageFormat.PNG),
        (b"RIFF\0\0\0\0WEBP", ImageFormat.WEBP),
        (b"GIF87a", ImageFormat.GIF),
        (b"GIF89a", ImageFormat.GIF),
        (b"II*\0", ImageFormat.TIFF),
        (b"MM\0*", ImageFormat.TIFF),
        (b"II+\0", ImageFormat.TIFF),
        (b"\0\0\0\x1cftypavif\0\0\0\0mif1avif", ImageFormat.AVIF),
        (b"\0\0\0\x18ftypmif1\0\0\0\0mif1avif", ImageFormat.AVIF),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", ImageFormat.HEIC),
        (b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic", ImageFormat.HEIC),
        (b"\xff\x0a", ImageFormat.JXL),
        (b"\0\0\0\x0cJXL \r\n\x87\n", ImageFormat.JXL),
        (b"BM" + bytes(12) + b"\x28\0\0\0", ImageFormat.BMP),
        (b"BM" + bytes(12) + b"\x7c\0\0\0", ImageFormat.BMP),
    ],
)
def test_format_is_recognized_by_content(begin: bytes, kind: ImageFormat) -> None:
    assert sniff(begin + bytes(20)) is kind


def test_empty_body_is_malformed() -> None:
    with pytest.raises(MalformedBody, match="empty"):
        sniff(b"")


@pytest.mark.parametrize(
    "data",
    [
        b"hello",
        b"%PDF-1.7",
        b"RIFF0000WAVE",
        b"\xff\xd8",
        b"\0\0\0\x18ftypmp42\0\0\0\0isom",
        b"BM" + bytes(60),
        b"BMW is a maker of cars",
    ],
)
def test_other_content_is_unsupported(data: bytes) -> None:
    with pytest.raises(UnsupportedImage, match="image/webp") as failure:
        sniff(data)
    assert failure.value.members == {"accepted": readable_types()}


@pytest.mark.parametrize("data", [b"photo.jpg", b"~/My Pictures/IMG_0001.HEIC\n", rb"C:\photos\cat.png"])
def test_name_of_a_file_is_told_from_the_file(data: bytes) -> None:
    with pytest.raises(UnsupportedImage, match="curl sends the file itself with an @"):
        sniff(data)


def test_media_types() -> None:
    written = ["image/jpeg", "image/png", "image/webp", "image/avif", "image/tiff", "image/gif"]
    assert writable_types() == written
    assert readable_types() == [*written, "image/heic", "image/jxl", "image/bmp"]
