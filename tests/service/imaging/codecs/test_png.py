import io
import struct
import zlib
from itertools import pairwise

import imagecodecs
import numpy as np
import pytest
from PIL import Image

from service.errors import CorruptImage, UnsupportedImage
from service.imaging.codecs.header import inspect
from service.imaging.codecs.png import (
    MAX_CHUNKS,
    MAX_INFLATED_BYTES,
    SideChunks,
    extract_pixels,
    inflate,
    insert_metadata,
    is_greyscale,
    read_bit_depth,
    read_side_chunks,
)
from tests.service.imaging.codecs.samples import XMP, camera_exif, chunk, deep_photo, moving, picture, png
from tests.service.imaging.images import file, photo

TEXT = chunk(b"tEXt", b"Title\0A")
SIGNATURE = b"\x89PNG\r\n\x1a\n"


def small(depth: int, colour_type: int, row: bytes, *chunks: bytes) -> bytes:
    """A PNG of 4×1 pixels."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 4, 1, depth, colour_type, 0, 0, 0))
    pixels = chunk(b"IDAT", zlib.compress(b"\0" + row))
    return b"".join([SIGNATURE, header, *chunks, pixels, chunk(b"IEND", b"")])


def after_header(data: bytes, *chunks: bytes) -> bytes:
    return data[:33] + b"".join(chunks) + data[33:]


@pytest.mark.parametrize("depth", [8, 16])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_header_fields(channels: int, depth: int) -> None:
    pixels = deep_photo(channels=channels) if depth == 16 else (deep_photo(channels=channels) >> 8).astype(np.uint8)
    data = png(pixels)
    assert read_bit_depth(data) == depth
    assert is_greyscale(data) == (channels < 3)


def test_palette_is_not_greyscale() -> None:
    data = file(Image.fromarray(photo()).quantize(16))
    assert read_bit_depth(data) == 4
    assert not is_greyscale(data)


def test_only_pixels_are_extracted() -> None:
    plain = png(photo())
    data = after_header(plain, TEXT, chunk(b"gAMA", bytes(4)))
    assert extract_pixels(data[:-12] + TEXT + data[-12:] + b"rubbish") == plain


@pytest.mark.parametrize("pieces", [[0, 5, None], [0, 0, 7, 8, None]])
def test_pixels_in_several_chunks_become_one(pieces: list[int | None]) -> None:
    plain = file(photo())
    body = plain[41:-16]
    parts = [chunk(b"IDAT", body[begin:end]) for begin, end in pairwise(pieces)]
    assert extract_pixels(plain[:33] + b"".join(parts) + plain[-12:]) == plain


@pytest.mark.parametrize("cut", [12, 6, 16, 14])
def test_end_and_last_checksum_may_be_missing(cut: int) -> None:
    assert extract_pixels(file(photo())[:-cut]) == file(photo())


@pytest.mark.parametrize("pixels", [photo(), deep_photo()])
def test_missing_pixels_are_noticed(pixels: np.ndarray) -> None:
    data = png(pixels)
    with pytest.raises(CorruptImage):
        picture(data[: len(data) // 2])
    with pytest.raises(CorruptImage, match="ends before its pixels"):
        extract_pixels(data[:40])


@pytest.mark.parametrize("pixels", [photo(), deep_photo()])
def test_pixels_with_a_wrong_checksum_are_refused(pixels: np.ndarray) -> None:
    data = bytearray(png(pixels))
    data[-13] ^= 1
    with pytest.raises(CorruptImage, match=r"a checksum \(CRC\) of its IDAT chunks is wrong"):
        picture(bytes(data))


@pytest.mark.parametrize("method", [10, 11])
def test_methods_that_do_not_exist_are_refused(method: int) -> None:
    data = png(photo())
    header = bytearray(data[16:29])
    header[method] = 1
    with pytest.raises(CorruptImage, match="header of the png image is broken"):
        extract_pixels(data[:8] + chunk(b"IHDR", bytes(header)) + data[33:])


@pytest.mark.parametrize("kind", [b"fcTL", b"fdAT"])
def test_frames_with_a_wrong_checksum_are_refused(kind: bytes) -> None:
    data = moving("PNG", 3)
    at = data.index(kind)
    with pytest.raises(CorruptImage, match=f"of its {kind.decode()} chunks is wrong"):
        extract_pixels(data[: at + 4] + bytes([data[at + 4] ^ 1]) + data[at + 5 :])


def test_frames_are_kept() -> None:
    data = moving("PNG", 3)
    assert Image.open(io.BytesIO(extract_pixels(after_header(data, TEXT)))).n_frames == 3  # type: ignore[attr-defined]
    with pytest.raises(CorruptImage, match="ends before its last frame"):
        extract_pixels(data[:-20])


@pytest.mark.parametrize("announced", [1, 2, 4, 2**31 - 1])
def test_frames_are_counted_whatever_is_announced(announced: int) -> None:
    data = moving("PNG", 3)
    at = data.index(b"acTL") - 4
    lying = data[:at] + chunk(b"acTL", struct.pack(">II", announced, 0)) + data[at + 20 :]
    assert extract_pixels(lying) == extract_pixels(data)


def test_an_animation_cut_between_frames_is_refused() -> None:
    data = moving("PNG", 3)
    last_frame, end = data.rindex(b"fcTL") - 4, data.rindex(b"IEND") - 4
    with pytest.raises(CorruptImage, match="ends before its last frame"):
        extract_pixels(data[:last_frame])
    assert extract_pixels(data[:end]) == extract_pixels(data)


def test_a_frame_without_data_does_not_count() -> None:
    data = moving("PNG", 3)
    at = data.rindex(b"fcTL") - 4
    extra = chunk(b"fcTL", data[at + 8 : at + 34])
    end = data.rindex(b"IEND") - 4
    assert extract_pixels(data[:end] + extra + data[end:]) == extract_pixels(data)


def test_an_animation_without_frames_is_its_default_image() -> None:
    plain = png(photo())
    assert extract_pixels(after_header(plain, chunk(b"acTL", struct.pack(">II", 3, 0)))) == plain


def test_a_single_frame_is_shown_and_not_the_default_image() -> None:
    default, frame = Image.fromarray(photo(1)), Image.fromarray(photo(2))
    data = file(default, "PNG", save_all=True, default_image=True, append_images=[frame])
    assert inspect(data).frames == 1
    assert np.array_equal(picture(data).pixels, photo(2))


@pytest.mark.parametrize("body", [b"\0\0", bytes(8)])
def test_broken_announcement_of_an_animation_is_left_out(body: bytes) -> None:
    plain = png(photo())
    assert extract_pixels(after_header(plain, chunk(b"acTL", body), chunk(b"fcTL", bytes(26)))) == plain


@pytest.mark.parametrize("begin", [8, 12, 16, 29])
def test_broken_header_is_refused(begin: int) -> None:
    data = bytearray(png(photo()))
    data[begin] ^= 1
    with pytest.raises(CorruptImage, match="the header of the png image is broken"):
        extract_pixels(bytes(data))


def test_other_critical_chunks_are_refused() -> None:
    with pytest.raises(UnsupportedImage, match=r"another standard \(ABCD\)"):
        extract_pixels(after_header(png(photo()), chunk(b"ABCD", b"")))
    with pytest.raises(UnsupportedImage, match="optimized for iOS"):
        extract_pixels(SIGNATURE + chunk(b"CgBI", bytes(4)) + png(photo())[8:])


def test_too_many_chunks_are_refused() -> None:
    data = png(photo())
    with pytest.raises(CorruptImage, match="more than"):
        extract_pixels(after_header(data, chunk(b"teSt", b"") * MAX_CHUNKS))
    assert extract_pixels(after_header(data, chunk(b"teSt", b"") * 1000)) == data


def test_palette_is_needed_by_indices_only() -> None:
    palette = chunk(b"PLTE", bytes(range(12)))
    assert picture(small(2, 3, b"\x1b", palette)).pixels[0].tolist() == [[0, 1, 2], [3, 4, 5], [6, 7, 8], [9, 10, 11]]
    for data in (small(2, 3, b"\x1b"), small(2, 3, b"\x1b", chunk(b"pLTE", bytes(12)))):
        with pytest.raises(CorruptImage, match="no palette"):
            extract_pixels(data)
    with pytest.raises(CorruptImage, match="the palette of the png image is broken"):
        extract_pixels(small(2, 3, b"\x1b", chunk(b"PLTE", b"")))
    assert extract_pixels(small(8, 2, bytes(12), chunk(b"PLTE", b"x"))) == small(8, 2, bytes(12))


def test_index_without_an_entry_is_black() -> None:
    shown = picture(small(2, 3, b"\x1b", chunk(b"PLTE", b"\x64" * 6)))
    assert shown.pixels[0].tolist() == [[100] * 3, [100] * 3, [0] * 3, [0] * 3]


@pytest.mark.parametrize(
    ("depth", "row", "colour"),
    [(1, b"\x50", 1), (2, b"\x1b", 1), (2, b"\x1b", 0xFF01), (4, b"\x01\x23", 1), (8, b"\0\1\2\3", 1)],
)
def test_transparent_grey(depth: int, row: bytes, colour: int) -> None:
    shown = picture(small(depth, 0, row, chunk(b"tRNS", struct.pack(">H", colour))))
    assert shown.alpha is not None
    assert shown.alpha[0].tolist()[:3] == [255, 0, 255]


def test_transparent_colour_and_entries() -> None:
    row = bytes(range(12))
    shown = picture(small(8, 2, row, chunk(b"tRNS", b"\0\3\0\4\x77\5")))
    assert shown.alpha is not None
    assert shown.alpha[0].tolist() == [255, 0, 255, 255]
    shown = picture(small(2, 3, b"\x1b", chunk(b"PLTE", row), chunk(b"tRNS", b"\0\x80")))
    assert shown.alpha is not None
    assert shown.alpha[0].tolist() == [0, 128, 255, 255]


@pytest.mark.parametrize("body", [b"", b"\0\1", b"\0\0\0\1\0", b"\0\0\0\1\0\2\0\3"])
@pytest.mark.parametrize("depth", [8, 16])
def test_broken_transparency_is_opaque(depth: int, body: bytes) -> None:
    row = bytes(range(12)) if depth == 8 else bytes(range(24))
    data = small(depth, 2, row, chunk(b"tRNS", body))
    assert extract_pixels(data) == small(depth, 2, row)
    assert picture(data).alpha is None


@pytest.mark.parametrize("chunks", [[b"tRNS", b"PLTE"], [b"PLTE", b"long"], [b"PLTE", b"tRNS-"]])
def test_misplaced_or_damaged_transparency_is_opaque(chunks: list[bytes]) -> None:
    made = {
        b"tRNS": chunk(b"tRNS", b"\0"),
        b"PLTE": chunk(b"PLTE", bytes(12)),
        b"long": chunk(b"tRNS", bytes(5)),
        b"tRNS-": chunk(b"tRNS", b"\0")[:-1] + b"-",
    }
    assert picture(small(2, 3, b"\x1b", *(made[name] for name in chunks))).alpha is None


def test_side_chunks_are_found_wherever_they_are() -> None:
    packet = chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + XMP)
    plain = png(photo())
    data = after_header(plain, chunk(b"gAMA", b"abcd"), chunk(b"gAMA", b"late"), TEXT)
    found = read_side_chunks(data[:-12] + packet + chunk(b"eXIf", b"MM") + data[-12:])
    assert found == SideChunks({b"gAMA": b"abcd"}, b"MM", None, XMP)
    assert read_side_chunks(plain[:-12] + chunk(b"cICP", b"1234") + plain[-12:]) == SideChunks()


def test_compressed_texts_are_read() -> None:
    data = after_header(
        png(photo()),
        chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(XMP)),
        chunk(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(b"\nexif\n 2\n4d4d")),
    )
    found = read_side_chunks(data)
    assert (found.xmp, found.raw_exif) == (XMP, "\nexif\n 2\n4d4d")


def raw_profile(name: bytes, content: bytes) -> bytes:
    """A text as ImageMagick writes it."""
    digits = b"\n".join(content.hex()[at : at + 72].encode() for at in range(0, 2 * len(content), 72))
    return b"Raw profile type %s\0\n%s\n%8d\n%s\n" % (name, name, len(content), digits)


@pytest.mark.parametrize(
    "made",
    [
        chunk(b"tEXt", b"XML:com.adobe.xmp\0" + XMP),
        chunk(b"zTXt", b"XML:com.adobe.xmp\0\0" + zlib.compress(XMP)),
        chunk(b"tEXt", raw_profile(b"xmp", XMP)),
        chunk(b"zTXt", b"Raw profile type xmp\0\0" + zlib.compress(raw_profile(b"xmp", XMP).split(b"\0")[1])),
    ],
)
def test_xmp_in_texts_of_other_programs_is_read(made: bytes) -> None:
    assert read_side_chunks(after_header(png(photo()), made)).xmp == XMP


def test_xmp_of_its_own_comes_before_that_in_digits() -> None:
    texts = chunk(b"tEXt", raw_profile(b"xmp", b"other")), chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + XMP)
    assert read_side_chunks(after_header(png(photo()), *texts)).xmp == XMP


@pytest.mark.parametrize("text", [b"", b"\nxmp\n 2\n", b"\nxmp\n 2\n4d4", b"\nxmp\n 2\nmore", b"\nxmp\n 2\n\xff"])
def test_broken_digits_are_left_out(text: bytes) -> None:
    made = chunk(b"tEXt", b"Raw profile type xmp\0" + text), chunk(b"tEXt", b"Raw profile type iptc\0" + text)
    found = read_side_chunks(after_header(png(photo()), *made))
    assert not found.xmp
    assert not found.iptc


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\0",
        b"\0\0\0",
        b"\1\0\0\0no zlib",
        b"\1\1\0\0" + zlib.compress(XMP),
        b"\2\0\0\0x",
        b"\1\0\0\0" + zlib.compress(bytes(2**23 + 1)),
    ],
)
def test_broken_or_large_text_is_left_out(body: bytes) -> None:
    data = after_header(png(photo()), chunk(b"iTXt", b"XML:com.adobe.xmp\0" + body))
    assert read_side_chunks(data) == SideChunks()
    assert np.array_equal(picture(data).pixels, photo())


def test_damaged_chunk_is_left_out() -> None:
    for made in (chunk(b"eXIf", b"MM"), chunk(b"gAMA", bytes(4)), chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0x")):
        assert read_side_chunks(after_header(png(photo()), made[:-1] + bytes([made[-1] ^ 1]))) == SideChunks()


def test_inflated_data_are_limited() -> None:
    most = bytes(MAX_INFLATED_BYTES)
    assert inflate(zlib.compress(most)) == most
    assert inflate(zlib.compress(most + b"\0")) is None
    assert inflate(b"no zlib") is None


def test_metadata_of_another_file_is_inserted() -> None:
    source = Image.open(io.BytesIO(file(photo(1), exif=camera_exif(), icc_profile=b"profile")))
    data = insert_metadata(png(photo()), file(source, exif=camera_exif(), icc_profile=b"profile"))
    image = Image.open(io.BytesIO(data))
    assert image.info["icc_profile"] == b"profile"
    assert image.getexif()[271] == "Kamera"
    assert np.array_equal(np.asarray(image), photo())
    assert XMP not in data


def test_libpng_reads_what_is_extracted() -> None:
    data = after_header(png(deep_photo()), TEXT, TEXT[:-1] + b"x")
    assert np.array_equal(imagecodecs.png_decode(extract_pixels(data)), deep_photo())
