import io
import struct
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from service.errors import CorruptImage
from service.imaging.codecs import configure_codecs, inspect
from tests.service.imaging.codecs.samples import chunk
from tests.service.imaging.images import file, photo

ROOT = Path(__file__).parents[4]
PATIENCE = 120.0


@pytest.fixture(autouse=True)
def library_defaults() -> Iterator[None]:
    """Pillow as it is before it is configured, for the length of a test."""
    limit = Image.MAX_IMAGE_PIXELS
    Image.MAX_IMAGE_PIXELS = 10**8
    with warnings.catch_warnings():
        yield
    Image.MAX_IMAGE_PIXELS = limit


READ_WITHOUT_DESCRIPTORS = """
import os, resource, sys
from pathlib import Path
from service.imaging.codecs import configure_codecs, decode, inspect

files = [path.read_bytes() for path in Path(sys.argv[1]).iterdir()]
configure_codecs()
resource.setrlimit(resource.RLIMIT_NOFILE, (100, 100))
try:
    while True:
        os.open(os.devnull, os.O_RDONLY)
except OSError:
    pass
for file in files:
    inspect(file)
    list(decode(file).pictures)
"""


def test_images_are_read_though_no_file_can_be_opened(tmp_path: Path) -> None:
    """In a process of its own, which has not loaded a plugin yet."""
    for kind in ("JPEG", "PNG", "WEBP", "AVIF", "GIF", "TIFF", "BMP"):
        (tmp_path / kind).write_bytes(file(photo(), kind))
    command = [sys.executable, "-c", READ_WITHOUT_DESCRIPTORS, str(tmp_path)]
    ended = subprocess.run(command, cwd=ROOT, stderr=subprocess.PIPE, text=True, timeout=PATIENCE, check=False)
    assert ended.returncode == 0, ended.stderr


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
    with pytest.warns(UserWarning, match="larger than file|Truncated File Read"):
        Image.Exif().load_from_fp(io.BytesIO(data))
    configure_codecs()
    with warnings.catch_warnings(record=True) as caught:
        Image.Exif().load_from_fp(io.BytesIO(data))
    assert caught == []
