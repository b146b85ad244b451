import pytest
from PIL import Image

from service.errors import CorruptImage
from service.imaging.codecs import ImageFormat
from service.imaging.codecs.opening import open_image, open_metadata
from tests.service.imaging.codecs.samples import chunk, moving
from tests.service.imaging.images import file, photo

OPENED_BY_PILLOW = [kind for kind in ImageFormat if kind is not ImageFormat.HEIC]


@pytest.mark.parametrize("kind", OPENED_BY_PILLOW)
def test_file_is_opened_as_its_format(kind: ImageFormat) -> None:
    with open_image(file(photo(), kind.name), kind) as image:
        assert (image.format, image.size) == (kind.name, (32, 24))


@pytest.mark.parametrize("kind", ImageFormat)
def test_other_bytes_are_corrupt(kind: ImageFormat) -> None:
    if kind is ImageFormat.HEIC:
        pytest.importorskip("pillow_heif")
    with pytest.raises(CorruptImage, match=f"the header of the {kind} image is broken"):
        open_image(b"no image at all", kind)


def test_file_of_another_format_is_corrupt() -> None:
    with pytest.raises(CorruptImage, match="the header of the png image is broken"):
        open_image(file(photo(), "JPEG"), ImageFormat.PNG)


def test_metadata_of_a_png_is_found_after_its_pixels() -> None:
    whole = file(photo())
    data = whole[:-12] + chunk(b"tEXt", b"Title\0A") + whole[-12:]
    with open_metadata(data, ImageFormat.PNG) as image:
        assert image.info["Title"] == "A"
    with open_image(data, ImageFormat.PNG) as image:
        assert "Title" not in image.info


def test_damaged_chunk_after_the_pixels_is_ignored() -> None:
    whole = file(photo(), exif=Image.Exif())
    data = whole[:-12] + chunk(b"zTXt", b"x\0\1no zlib") + whole[-12:]
    with open_metadata(data, ImageFormat.PNG) as image:
        assert image.size == (32, 24)


def test_metadata_of_an_animation_is_that_of_the_file() -> None:
    with open_metadata(moving("GIF", 3, comment=b"hello"), ImageFormat.GIF) as image:
        assert image.info["comment"] == b"hello"
