import io
import struct
import warnings
from collections.abc import Iterator

import pytest
from PIL import Image

from service.errors import CorruptImage
from service.imaging.codecs import configure_codecs, inspect
from tests.service.imaging.codecs.samples import chunk


@pytest.fixture(autouse=True)
def library_defaults() -> Iterator[None]:
    """Pillow as it is before it is configured, for the length of a test."""
    limit = Image.MAX_IMAGE_PIXELS
    Image.MAX_IMAGE_PIXELS = 10**8
    with warnings.catch_warnings():
        yield
    Image.MAX_IMAGE_PIXELS = limit


def test_pillow_has_no_limit_of_its_own() -> None:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 100_000, 100_000, 8, 2, 0, 0, 0))
    huge = b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", b"")
    with pytest.raises(CorruptImage):
        inspect(huge)
    configure_codecs()
    assert inspect(huge).pixels == 10**10


def test_pillow_does_not_warn_of_damaged_tags() -> None:
    entry = struct.pack("<HHII", 271, 2, 1000, 8)  # a maker whose name is not in the file
    data = b"II*\0\x08\0\0\0\1\0" + entry + bytes(4)
    with pytest.warns(UserWarning, match="larger than file"):
        Image.Exif().load_from_fp(io.BytesIO(data))
    configure_codecs()
    with warnings.catch_warnings(record=True) as caught:
        Image.Exif().load_from_fp(io.BytesIO(data))
    assert caught == []
