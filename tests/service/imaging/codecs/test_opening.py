import io
import zlib

import numpy as np
import pytest
from PIL import Image

from service.errors import CorruptImage
from service.imaging.codecs import WRITTEN_FORMATS, ImageFormat, MetadataPolicy, decode, inspect
from service.imaging.codecs.animation import write_animation
from service.imaging.codecs.exif import read_exif, read_orientation
from service.imaging.codecs.isobmff import read_code_points
from service.imaging.codecs.jpeg_segments import insert_segments
from service.imaging.codecs.opening import open_image, open_metadata
from service.imaging.codecs.timing import Timing
from service.imaging.masks import Mask
from service.imaging.pixels import to_8_bits
from tests.service.imaging.codecs.samples import (
    XMP,
    adobe_rgb,
    camera_exif,
    chunk,
    deep_photo,
    picture,
    png,
    reencode,
)
from tests.service.imaging.images import file, photo


@pytest.mark.parametrize("kind", WRITTEN_FORMATS)
def test_file_is_opened_as_its_format(kind: ImageFormat) -> None:
    with open_image(file(photo(), kind.name), kind) as image:
        assert (image.format, image.size) == (kind.name, (32, 24))


@pytest.mark.parametrize("kind", ImageFormat)
def test_other_bytes_are_corrupt(kind: ImageFormat) -> None:
    with pytest.raises(CorruptImage, match=f"the header of the {kind} image is broken"):
        open_image(b"no image at all", kind)


def test_file_of_another_format_is_corrupt() -> None:
    with pytest.raises(CorruptImage, match="the header of the png image is broken"):
        open_image(file(photo(), "JPEG"), ImageFormat.PNG)


def test_metadata_of_a_png_is_found_after_its_pixels() -> None:
    whole = file(photo())
    data = whole[:-12] + chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + XMP) + whole[-12:]
    with open_metadata(data, ImageFormat.PNG) as image:
        assert image.info["xmp"] == XMP


def test_exif_in_hexadecimal_digits_is_read() -> None:
    digits = camera_exif(6).tobytes().hex()
    whole = file(photo())
    data = whole[:33] + chunk(b"tEXt", b"Raw profile type exif\0\nexif\n9\n" + digits.encode()) + whole[33:]
    assert read_orientation(read_exif(open_metadata(data, ImageFormat.PNG))) == 6


def jpeg(*segments: bytes) -> bytes:
    """A JPEG with segments, each a marker, an identifier and data."""
    parts = (b"\xff" + body[:1] + (len(body) + 1).to_bytes(2) + body[1:] for body in segments)
    return insert_segments(file(photo(), "JPEG"), list(parts))


EXIF = camera_exif(3).tobytes()
BROKEN = {
    "png text": png(photo(), chunk(b"tEXt", b"a\0b")[:-1] + b"x"),
    "png text of 2 MB": png(photo(), chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(2**21)))),
    "png unknown": png(photo(), chunk(b"s\1IT", b"x")),
    "png gAMA": png(photo(), chunk(b"gAMA", b"x")),
    "png cHRM": png(photo(), chunk(b"cHRM", b"x")),
    "png sRGB": png(photo(), chunk(b"sRGB", b"")),
    "png pHYs": png(photo(), chunk(b"pHYs", b"x")),
    "png eXIf": png(photo(), chunk(b"eXIf", b"x")),
    "png tRNS": png(photo(), chunk(b"tRNS", b"\0\1")),
    "png iCCP method": png(photo(), chunk(b"iCCP", b"x\0\1" + zlib.compress(adobe_rgb()))),
    "png iCCP empty": png(photo(), chunk(b"iCCP", b"")),
    "png iCCP of 9 MB": png(photo(), chunk(b"iCCP", b"x\0\0" + zlib.compress(bytes(9 * 2**20)))),
    "png, 16 bits": png(deep_photo(), chunk(b"eXIf", b"x")[:-1] + b"x"),
    "jpeg icc": jpeg(b"\xe2ICC_PROFILE\0"),
    "jpeg icc number": jpeg(b"\xe2ICC_PROFILE\0\1"),
    "jpeg icc, one of two": jpeg(b"\xe2ICC_PROFILE\0\1\2" + adobe_rgb()),
    "jpeg jfif": jpeg(b"\xe0JFIF\0"),
    "jpeg adobe": jpeg(b"\xeeAdobe"),
    "jpeg exif": jpeg(b"\xe1Exif\0\0junk"),
    "jpeg empty exif": jpeg(b"\xe1Exif\0\0"),
    "jpeg xmp": jpeg(b"\xe1http://ns.adobe.com/xap/1.0/\0<x"),
    "jpeg mpf": jpeg(b"\xe2MPF\0junk"),
    "jpeg photoshop": jpeg(b"\xedPhotoshop 3.0\0008BIM\4"),
    "webp": file(photo(), "WEBP", lossless=True, exif=b"Exif\0\0junk", xmp=b"<x", icc_profile=b"junk"),
    "avif": file(photo(), "AVIF", exif=camera_exif().tobytes(), xmp=b"<x").replace(b"MM\0*", b"junk"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_photo_is_good_where_something_beside_its_pixels_is_broken(name: str) -> None:
    data = BROKEN[name]
    lossless = {"png": photo(), "webp": photo()}
    plain = {"jpeg": file(photo(), "JPEG"), "avif": file(photo(), "AVIF")}
    kind = inspect(data).format
    expected = to_8_bits(deep_photo()) if "16" in name else lossless.get(kind)
    shown = picture(data)
    assert np.array_equal(shown.pixels, picture(plain[kind]).pixels if expected is None else expected)
    assert shown.alpha is None
    for policy in MetadataPolicy:
        assert inspect(reencode(data, metadata=policy)).upright_size == (24, 32)
    assert Mask.decode(data).plane.shape == (24, 32, 1)


def test_metadata_beside_what_is_broken_are_kept() -> None:
    image = open_metadata(
        jpeg(b"\xe1" + EXIF, b"\xe2ICC_PROFILE\0", b"\xe1http://ns.adobe.com/xap/1.0/\0" + XMP), ImageFormat.JPEG
    )
    assert image.info["xmp"] == XMP
    assert read_orientation(read_exif(image)) == 3


@pytest.mark.parametrize(("codes", "kept"), [((12, 13), True), ((1, 13), False), ((9, 16), False)])
def test_code_points_of_a_heic_hold(codes: tuple[int, int], kept: bool) -> None:
    heif = pytest.importorskip("pillow_heif")
    stream = io.BytesIO()
    heif.from_pillow(Image.fromarray(photo(height=64, width=64))).save(
        stream,
        save_nclx_profile=True,
        color_primaries=codes[0],
        transfer_characteristics=codes[1],
        matrix_coefficients=1,
    )
    assert read_code_points(stream.getvalue()) == codes
    image = decode(stream.getvalue())
    next(image.pictures)
    assert (image.space.profile is not None and not image.space.is_srgb) == kept


@pytest.mark.parametrize("kind", [ImageFormat.GIF, ImageFormat.WEBP])
def test_metadata_of_an_animation_is_that_of_the_file(kind: ImageFormat) -> None:
    data = write_animation([photo(0), photo(1)], kind, Timing([50, 50], 1), {"xmp": XMP})
    with open_metadata(data, kind) as image:
        assert image.info["xmp"] == XMP


def test_orientation_in_the_xmp_of_a_gif_does_not_count() -> None:
    data = write_animation([photo()], ImageFormat.GIF, Timing([0], 1), {"xmp": XMP})  # it says 6
    with open_metadata(data, ImageFormat.GIF) as image:
        assert read_orientation(read_exif(image)) == 1
    assert inspect(data).upright_size == next(decode(data).pictures).pixels.shape[:2] == (24, 32)
