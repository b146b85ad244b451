import struct

import numpy as np
import pytest

from service.errors import CorruptImage
from service.imaging.codecs.webp import MAX_CHUNKS, extract_pixels, read_metadata
from tests.service.imaging.codecs.samples import XMP, adobe_rgb, camera_exif, moving, picture, pictures
from tests.service.imaging.images import file, photo

EXIF = camera_exif().tobytes()[6:]
PLAIN = file(photo(), "WEBP", lossless=True)
WHOLE = file(photo(), "WEBP", lossless=True, exif=EXIF, xmp=XMP, icc_profile=adobe_rgb())


def riff(*chunks: bytes) -> bytes:
    body = b"WEBP" + b"".join(chunks)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def claim(data: bytes, kind: bytes, size: int) -> bytes:
    """The file with another size of a chunk."""
    at = data.index(kind) + 4
    return data[:at] + struct.pack("<I", size) + data[at + 4 :]


def test_pixels_are_extracted() -> None:
    assert extract_pixels(PLAIN) == PLAIN
    extracted = extract_pixels(WHOLE)
    assert not any(kind in extracted for kind in (b"EXIF", b"XMP ", b"ICCP"))
    assert np.array_equal(picture(extracted).pixels, photo())


def test_frames_are_extracted() -> None:
    data = moving("WEBP", 3)
    assert extract_pixels(data) == data
    assert len(pictures(extract_pixels(moving("WEBP", 3, xmp=XMP)))) == 3


def test_an_animation_cut_between_frames_is_refused() -> None:
    for data in (moving("WEBP", 3), moving("WEBP", 3, xmp=XMP)):
        with pytest.raises(CorruptImage, match="ends before its last frame"):
            extract_pixels(data[: data.rindex(b"ANMF")])
    with_metadata = moving("WEBP", 3, xmp=XMP)
    assert len(pictures(with_metadata[:-4])) == 3


def test_metadata_are_read() -> None:
    assert read_metadata(PLAIN) == {}
    assert read_metadata(WHOLE) == {"icc_profile": adobe_rgb(), "exif": EXIF, "xmp": XMP}


@pytest.mark.parametrize("size", [5000, 2**32 - 1])
def test_chunk_beyond_the_file_is_left_out(size: int) -> None:
    data = claim(WHOLE, b"XMP ", size)
    assert np.array_equal(picture(data).pixels, photo())
    assert list(read_metadata(data)) == ["icc_profile", "exif"]


@pytest.mark.parametrize("cut", [1, 3, 100])
def test_truncated_metadata_are_left_out(cut: int) -> None:
    assert np.array_equal(picture(WHOLE[:-cut]).pixels, photo())


def test_length_of_the_file_may_be_wrong() -> None:
    assert extract_pixels(PLAIN[:4] + struct.pack("<I", len(PLAIN) + 100) + PLAIN[8:]) == PLAIN
    assert extract_pixels(PLAIN + b"rubbish") == PLAIN


def test_truncated_pixels_are_refused() -> None:
    with pytest.raises(CorruptImage):
        picture(PLAIN[: len(PLAIN) // 2])


def test_too_many_chunks_are_refused() -> None:
    with pytest.raises(CorruptImage, match="more than"):
        extract_pixels(riff(*[b"ABCD\0\0\0\0"] * MAX_CHUNKS))
