import pytest

from service.errors import MalformedBody, UnsupportedImage
from service.imaging.codecs import ImageFormat, readable_types, writable_types
from service.imaging.codecs.formats import sniff

HEIC = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic"


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
    ],
)
def test_format_is_recognized_by_content(begin: bytes, kind: ImageFormat) -> None:
    assert sniff(begin + bytes(20)) is kind


def test_empty_body_is_malformed() -> None:
    with pytest.raises(MalformedBody, match="empty"):
        sniff(b"")


@pytest.mark.parametrize(
    "data",
    [b"hello", b"%PDF-1.7", b"RIFF0000WAVE", b"\xff\xd8", b"\0\0\0\x18ftypmp42\0\0\0\0isom", b"BM" + bytes(60)],
)
def test_other_content_is_unsupported(data: bytes) -> None:
    with pytest.raises(UnsupportedImage, match="image/webp") as failure:
        sniff(data)
    assert failure.value.members == {"accepted": readable_types()}


def test_heic_is_refused_with_advice_without_its_package() -> None:
    with pytest.raises(UnsupportedImage, match="the extra `heic` is installed") as failure:
        sniff(HEIC, heif_available=lambda: False)
    assert "image/heic" not in failure.value.members["accepted"]
    assert sniff(HEIC, heif_available=lambda: True) is ImageFormat.HEIC


def test_heic_is_readable_with_its_package() -> None:
    assert "image/heic" in readable_types(lambda: True)
    assert "image/heic" not in readable_types(lambda: False)


def test_media_types() -> None:
    written = ["image/jpeg", "image/png", "image/webp", "image/avif", "image/tiff", "image/gif"]
    assert writable_types() == written
    assert [kind for kind in readable_types() if kind != "image/heic"] == written
