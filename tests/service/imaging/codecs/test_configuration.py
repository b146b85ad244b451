import logging
import struct
from collections.abc import Iterator

import pytest
from PIL import Image

from service.errors import CorruptImage
from service.imaging.codecs import configure_codecs, inspect
from tests.service.imaging.codecs.samples import chunk

LOGGER = logging.getLogger("tifffile")
DAMAGED_TIFF = b"II*\0\x08\0\0\0"


@pytest.fixture(autouse=True)
def library_defaults() -> Iterator[None]:
    """The libraries as they are before they are configured, for the length of a test."""
    limit, level = Image.MAX_IMAGE_PIXELS, LOGGER.level
    Image.MAX_IMAGE_PIXELS = 10**8
    LOGGER.setLevel(logging.NOTSET)
    yield
    Image.MAX_IMAGE_PIXELS = limit
    LOGGER.setLevel(level)


def test_pillow_has_no_limit_of_its_own() -> None:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 100_000, 100_000, 8, 2, 0, 0, 0))
    huge = b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", b"")
    with pytest.raises(CorruptImage):
        inspect(huge)
    configure_codecs()
    assert inspect(huge).pixels == 10**10


def test_damaged_tiff_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(CorruptImage):
        inspect(DAMAGED_TIFF)
    assert "tifffile" in {record.name for record in caplog.records}
    caplog.clear()
    configure_codecs()
    with pytest.raises(CorruptImage):
        inspect(DAMAGED_TIFF)
    assert "tifffile" not in {record.name for record in caplog.records}
